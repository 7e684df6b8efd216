import re
from itertools import pairwise
from pathlib import Path

import pytest

import gti_cli
from gti_cli.diagnostics.diagnose import diagnose
from gti_cli.diagnostics.report import TOKENS_SHOWN, command_line
from gti_cli.diagnostics.verdict import EXPLANATIONS
from gti_cli.html.figures import format_figure, format_interval
from gti_cli.workspace import Workspace
from tests.support.diagnostics import make_extended, write_items
from tests.support.html import PageReader

TITLE = "<script>alert('x')</script> silk dress & \"more\""


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
    reader = PageReader(page)
    assert "script" not in reader.tags
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert reader.tags.count("img") == 4 and all(reader.pictures)
    levels = [level for level, _ in reader.headings]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    assert not re.search(r"https?://", page)
    assert "{{" not in page
    assert "{%" not in page
    for label, figures in manifest.metrics.items():
        assert [label, f"{figures['verdict']}"] in [row[:2] for row in reader.rows]
        assert reader.text.count(figures["reason"]) == 1
    assert TITLE in reader.text  # shown as text
    assert "<script" not in page


def test_figures_of_the_page_are_those_of_the_manifest(diagnosed):
    folder, manifest = diagnosed
    reader = PageReader((folder / "report.html").read_text("utf-8"))
    figures = manifest.metrics["grounded & <co>"]
    level = figures["rsa_levels"]["1"]
    ranks = [manifest.metrics[label]["effective_rank"] for label in manifest.details["checkpoints"]]
    rows = [
        ["effective rank", *map(format_figure, ranks)],
        ["isotropy of pretrained rows", *[format_figure(figures["pretrained_isotropy"])] * 2],
        ["grounded & <co>", "level 1", "6", f"{level['pearson']:.3f}{format_interval(level['pearson_interval'])}"],
    ]
    for row in rows:
        assert any(cells[: len(row)] == row for cells in reader.rows), row


def test_most_carried_tokens_first_with_two_of_their_items(diagnosed):
    folder, _ = diagnosed
    reader = PageReader((folder / "report.html").read_text("utf-8"))
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
    reader = PageReader((tmp_path / "diagnostics" / "y" / "report.html").read_text("utf-8"))
    assert "nearest to the first tokens" in reader.text
    assert "WordAgreement with the codebooks, in figures" not in reader.text


def test_an_installed_package_carries_the_files_of_the_page():
    tomllib = pytest.importorskip("tomllib")
    root = Path(gti_cli.__file__).parents[1]
    listed = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    folder = root / "gti_cli" / "diagnostics"
    files = {path for pattern in listed["gti_cli.diagnostics"] for path in folder.glob(pattern)}
    assert {path.name for path in files} == {"report.html.jinja", "verdicts.html.jinja"}
    assert files == {path for path in folder.rglob("*.*") if path.suffix not in (".py", ".pyc", ".md")}


def test_the_page_says_what_was_diagnosed_and_what_evaluation_found(diagnosed):
    folder, manifest = diagnosed
    root = folder.parents[1]
    page = (folder / "report.html").read_text("utf-8")
    reader = PageReader(page)
    assert "gti diagnose 'grounded & <co>' 'collapsed & <co>' --plot --name x" in reader.text
    assert "36 items" in reader.text and str(root) not in reader.text
    assert "No evaluation of these checkpoints" in reader.text
    assert re.search(r"20\d\d-\d\d-\d\d \(UTC\)", reader.text)
    for explanation in {EXPLANATIONS[figures["verdict"]] for figures in manifest.metrics.values()}:
        assert reader.text.count(explanation) == 1


def test_the_command_line_of_a_diagnosis():
    options = {"checkpoints": ["a", "b c"], "tokens_from": "x.*", "base_vocab": None, "codebooks": "none"}
    assert command_line(options, "diagnostics/n") == (
        "gti diagnose a 'b c' --plot --name n --tokens-from 'x.*' --codebooks none"
    )
    other = {"checkpoints": ["a"], "trajectory": [["a"]], "tokens_from": None, "base_vocab": 7, "codebooks": "auto"}
    assert command_line(other, "diagnostics/n") == "gti diagnose a --plot --trajectory --name n --base-vocab 7"
