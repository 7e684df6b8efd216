import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import gti_cli
from gti_cli.diagnostics.diagnose import diagnose
from gti_cli.diagnostics.report import TOKENS_SHOWN, format_figure, format_interval
from gti_cli.workspace import Workspace
from tests.support.diagnostics import make_extended, write_items

TITLE = "<script>alert('x')</script> silk dress & \"more\""


class Reader(HTMLParser):
    """Checks that tags close in order, and collects text, cells and links."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text, self.links, self.rows = [], [], "", [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory):
    root = tmp_path_factory.mktemp("ws")
    write_items(Workspace(root), [TITLE] * 36)
    for name, kind in (("grounded", "grounded"), ("collapsed", "collapsed")):
        make_extended(root.parent / f"{root.name}-made" / f"{name} & <co>", kind)
    made = root.parent / f"{root.name}-made"
    manifest = diagnose([made / "grounded & <co>", made / "collapsed & <co>"], root, plot=True, name="x")
    return root / "diagnostics" / "x", manifest


def test_the_page_is_whole_and_needs_nothing_else(diagnosed):
    folder, manifest = diagnosed
    page = (folder / "report.html").read_text("utf-8")
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert "script" not in reader.seen
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert reader.seen.count("img") == 4
    assert not re.search(r"https?://", page)
    assert "{{" not in page
    assert "{%" not in page
    for label, figures in manifest.metrics.items():
        assert f"{label}: {figures['verdict']}" in reader.text
        assert figures["reason"] in reader.text
    assert TITLE in reader.text  # shown as text
    assert "<script" not in page


def test_figures_are_formatted():
    cases = [
        (None, "–"),
        (0.12345, "0.123"),
        (-0.0001, "0.000"),
        (1234.56, "1,234.6"),
        (1234, "1,234"),
        ("text", "text"),
    ]
    assert [format_figure(value) for value, _ in cases] == [text for _, text in cases]
    assert format_interval((-0.5, 12.0)) == " (-0.500 to 12.0)"
    assert format_interval(None) == ""


def test_figures_of_the_page_are_those_of_the_manifest(diagnosed):
    folder, manifest = diagnosed
    reader = Reader()
    reader.feed((folder / "report.html").read_text("utf-8"))
    figures = manifest.metrics["grounded & <co>"]
    level = figures["rsa_levels"]["1"]
    rows = [
        [
            "grounded & <co>",
            "18",
            *(format_figure(figures[key]) for key in ("effective_rank", "pretrained_effective_rank")),
        ],
        ["isotropy of pretrained rows", *[format_figure(figures["pretrained_isotropy"])] * 2],
        ["grounded & <co>", "level 1", "6", f"{level['pearson']:.3f}{format_interval(level['pearson_interval'])}"],
    ]
    for row in rows:
        assert any(cells[: len(row)] == row for cells in reader.rows), row


def test_most_carried_tokens_first_with_two_of_their_items(diagnosed):
    folder, _ = diagnosed
    reader = Reader()
    reader.feed((folder / "report.html").read_text("utf-8"))
    start = reader.rows.index(["token", "items", "nearest words", "two of the items"])
    first, second = reader.rows[start + 1 : start + 3]
    assert first[:2] == ["<c_0>", "8"]
    assert second[:2] == ["<c_1>", "7"]
    assert first[3] == f"{TITLE}; {TITLE}"
    assert len(first[2].split(", ")) >= 10
    assert len(reader.rows[start + 1 :]) >= TOKENS_SHOWN


def test_without_items_and_without_codebooks(diagnosed, tmp_path):
    folder, _ = diagnosed
    made = folder.parent.parent.parent / f"{folder.parent.parent.name}-made"
    diagnose([made / "grounded & <co>"], tmp_path, plot=True, name="y", codebooks_from="none")
    reader = Reader()
    reader.feed((tmp_path / "diagnostics" / "y" / "report.html").read_text("utf-8"))
    assert "nearest to the first tokens" in reader.text
    assert "WordAgreement with the codebooks, in figures" not in reader.text


def test_an_installed_package_carries_the_files_of_the_page():
    tomllib = pytest.importorskip("tomllib")
    root = Path(gti_cli.__file__).parents[1]
    listed = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    folder = root / "gti_cli" / "diagnostics"
    files = {path for pattern in listed["gti_cli.diagnostics"] for path in folder.glob(pattern)}
    assert {path.name for path in files} == {"report.html.jinja", "report.css"}
    assert files == {path for path in folder.rglob("*.*") if path.suffix not in (".py", ".pyc", ".md")}
