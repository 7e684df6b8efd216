import re
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.diagnostics.diagnose import diagnose
from gti_cli.workspace import Workspace
from tests.support.diagnostics import make_extended, write_codebooks

TITLE = "<script>alert('x')</script> silk dress & \"more\""


class Reader(HTMLParser):
    """Checks that tags close in order, and collects text and attributes."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text, self.links = [], [], "", []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory):
    root = tmp_path_factory.mktemp("ws")
    space = Workspace(root)
    outputs = ["codebooks.safetensors", "semantic_ids.parquet", "items.parquet"]
    with space.stage("build-ids", "semantic_ids", outputs, options={}) as run:
        write_codebooks(run.path("codebooks.safetensors"))
        codes = [[i % 6, (i // 6) % 6, i % 5] for i in range(36)]
        ids = {"item_id": [str(i) for i in range(36)], "codes": codes, "tokens": [""] * 36}
        tables.write(run.path("semantic_ids.parquet"), ids)
        tables.write(run.path("items.parquet"), {"item_id": ids["item_id"], "text": [TITLE] * 36})
        run.details["identity"] = "these"
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
    for label, figures in manifest.metrics.items():
        assert f"{label}: {figures['verdict']}" in reader.text
        assert figures["reason"] in reader.text
    assert TITLE in reader.text  # shown as text
    assert "<script" not in page


def test_words_and_items_of_the_catalogue(diagnosed):
    folder, manifest = diagnosed
    tokens = pq.read_table(folder / "tokens.parquet").to_pydict()
    assert tokens["items"][:18] == [6] * 12 + [8, 7, 7, 7, 7, 0]
    assert tokens["parent"][:6] == [-1] * 6
    assert tokens["parent"][17] == -1  # no item has this code
    assert sorted(tokens["place"][:18]) == list(range(18))
    words = pq.read_table(folder / "words.parquet").to_pydict()
    assert len(words["word"]) == 2 * 18 * 10
    first = manifest.metrics["grounded & <co>"]
    held = [hit for hit in words["in_item_texts"][:180] if hit == hit]
    assert held
    assert 0 <= first["word_agreement"] <= 1
    assert first["word_agreement"] == pytest.approx(first["word_agreement_chance"])  # all items have one text


def test_without_catalogue_and_without_codebooks(diagnosed, tmp_path):
    folder, _ = diagnosed
    made = folder.parent.parent.parent / f"{folder.parent.parent.name}-made"
    diagnose([made / "grounded & <co>"], tmp_path, plot=True, name="y", codebooks_from="none")
    reader = Reader()
    reader.feed((tmp_path / "diagnostics" / "y" / "report.html").read_text("utf-8"))
    assert "nearest to the first tokens" in reader.text
    assert "Agreement with the codebooks, in figures" not in reader.text
