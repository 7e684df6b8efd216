"""`gti report`: the page of a whole workspace."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import gti_cli
from gti_cli.errors import InputError
from gti_cli.pages.report import report
from gti_cli.workspace import Workspace
from tests.support.html import PageReader
from tests.support.pages import CODES, TITLES, add_ids, make_workspace, png, write_interactions


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    make_workspace(root / "ws", write_interactions(root / "interactions.parquet"))
    (root / "ws" / "grounded_curves.png").write_bytes(png(9, 5))
    return root / "ws"


@pytest.fixture(scope="module")
def page(workspace: Path) -> PageReader:
    path = report(workspace)
    assert path == workspace / "report.html"
    return PageReader(path.read_text("utf-8"))


def test_the_page_needs_nothing_else_and_can_be_read_aloud(page: PageReader, workspace: Path) -> None:
    text = (workspace / "report.html").read_text("utf-8")
    assert "script" not in page.tags and "://" not in text and "@import" not in text and "url(" not in text
    anchors = [link[1:] for link in page.links if link.startswith("#")]
    assert len(anchors) == 8 and set(anchors) <= set(page.ids) and len(page.ids) == len(set(page.ids))
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.pictures) == 2 and all(page.pictures)


def test_titles_are_text(page: PageReader, workspace: Path) -> None:
    assert TITLES[0] in page.text and TITLES[1] in page.text and TITLES[2] in page.text and "u<2>" in page.text
    assert "second line" not in page.text
    assert "<b>" not in (workspace / "report.html").read_text("utf-8")


def test_every_section_shows_figures_of_its_manifests(page: PageReader) -> None:
    rows = page.rows
    assert ["extended", "tiny", "mean", "–", "1.000", "–", "–"] in rows
    assert ["text finds its item, first place", "0.125", "0.375", "0.062"] in rows
    assert ["finetuned", "grounded", "next-item", "–", "0.50", "9.500", "1.250"] in rows
    assert ["finetuned", "0.2500", "0.50000.4000–0.6000"] in rows
    assert ["popularity baseline", "0.3750", "0.0625"] in rows
    assert ["finetuned", "0.500", "0.750"] in rows  # the slices
    assert ["grounded", "grounded", "–", "12.5 of 20.0", "0.50 (needs 0.25)", "0.38 in level 0 (p 0.001)", "–"] in rows
    assert "2 of 4" in page.text and f"{len(CODES)} items" in page.text
    assert page.text.count("why grounded") == 2 and "not in the list" in page.text and "found, rank 2" in page.text


def test_stages_that_have_not_run_are_named_with_their_command(tmp_path: Path) -> None:
    add_ids(Workspace(tmp_path))
    page = PageReader(report(tmp_path, output=tmp_path / "page.htm").read_text("utf-8"))
    for command in ("extend --model MODEL", "ground", "finetune --inter", "evaluate --inter", "diagnose CHECKPOINT"):
        assert f"gti {command}" in page.text
    assert "Items that share codes" in page.text and page.pictures == []


def test_damage_and_staleness_are_said(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "ws", write_interactions(tmp_path / "interactions.parquet"))
    (space.path("items.parquet")).write_bytes(b"no table")
    (space.path("grounded") / "gti.json").write_text("{")
    page = PageReader(report(space.root).read_text("utf-8"))
    assert "out of date: items.parquet was edited" in page.text and "grounded is damaged" in page.text
    assert "The items cannot be shown" in page.text and "The lists cannot be shown" in page.text
    assert "5 out of date or damaged" in page.text or "6 out of date or damaged" in page.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("page.txt", "is an HTML page"),
        ("folder.html", "is a folder"),
        ("absent/x.html", "no such folder"),
        ("mine.html", "is kept"),
    ],
)
def test_what_is_no_page_is_not_replaced(workspace: Path, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "mine.html").write_text("<html>mine")
    with pytest.raises(InputError, match=message):
        report(workspace, output=tmp_path / name)
    assert (tmp_path / "mine.html").read_text() == "<html>mine"


def test_wrong_workspaces_and_numbers(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such workspace"):
        report(tmp_path / "absent")
    with pytest.raises(InputError, match="is empty"):
        report(tmp_path)
    with pytest.raises(InputError, match="--histories -1"):
        report(workspace, histories=-1)
    assert "--histories 0" in report(workspace, output=tmp_path / "x.html", histories=0).read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]


def test_an_installed_package_carries_the_files_of_the_pages() -> None:
    tomllib = pytest.importorskip("tomllib")
    root = Path(gti_cli.__file__).parents[1]
    listed = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    for room in ("html", "pages"):
        folder = root / "gti_cli" / room
        files = {path for pattern in listed[f"gti_cli.{room}"] for path in folder.glob(pattern)}
        assert files == {path for path in folder.rglob("*.*") if path.suffix not in (".py", ".pyc", ".md")} != set()


def test_no_model_library_is_loaded() -> None:
    """The page is made in a second, so its modules import none of the libraries that take longer."""
    code = "import sys, gti_cli.pages.report; print(sorted(set(sys.modules) & {'torch', 'transformers', 'matplotlib'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
