from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.semantic_ids.build import build_ids
from gti_cli.semantic_ids.quality import plot
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest
from tests.support.semantic_ids import TINY_RQVAE, make_items


def test_pictures_of_replaced_ids_are_removed(tmp_path: Path) -> None:
    items, space = make_items(tmp_path), tmp_path / "ws"
    space.mkdir()
    pictures = [space / "semantic_ids.png", space / "semantic_ids.svg", space / "rqvae_history.png"]

    def draw() -> None:
        for picture in pictures:
            picture.write_text("old")

    draw()
    build_ids(items, space, levels=2, codes=16)
    assert all(picture.exists() for picture in pictures)  # nothing replaced: not ours
    build_ids(items, space, levels=2, codes=16)
    assert all(picture.exists() for picture in pictures)  # nothing to do: they still fit
    build_ids(items, space, levels=2, codes=12, force=True)
    assert not any(picture.exists() for picture in pictures)
    draw()
    tables.write(tmp_path / "new.parquet", {"item_id": ["n1"], "title": ["red silk"], "brand": ["Acme"]})
    build_ids(tmp_path / "new.parquet", space, reuse=True)
    assert not any(picture.exists() for picture in pictures)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IDs of an RQ-VAE with a suffix level, which has no explained variance."""
    folder = tmp_path_factory.mktemp("plot")
    items = make_items(folder, categories=["$a_b$ > c", None] * 40)
    options: dict[str, Any] = {"quantizer": "rq-vae", "rqvae": TINY_RQVAE, "collisions": "suffix"}
    build_ids(items, folder / "ws", levels=2, codes=8, **options)
    return folder / "ws"


def manifest_of(workspace: Path) -> Manifest:
    return Workspace(workspace).require("semantic_ids", "gti build-ids")


def test_the_panels_show_the_metrics(workspace: Path) -> None:
    from matplotlib.figure import Figure

    manifest, figure = manifest_of(workspace), Figure()
    plot._draw_quality(figure, manifest)
    use, variance, meaning, fullest = figure.get_axes()
    levels = manifest.metrics["levels"]
    assert len(levels) == 3
    shares = [entry["use"] for entry in levels] + [entry["perplexity"] / entry["codes"] for entry in levels]
    assert [bar.get_height() for bar in use.patches] == pytest.approx(shares)
    expected = [entry["explained_variance"] for entry in levels[:2]]
    assert variance.lines[0].get_ydata().tolist() == pytest.approx(expected)
    recall = [entry["recall"] for entry in manifest.metrics["neighbourhood"]["prefixes"]]
    assert meaning.lines[0].get_ydata().tolist() == pytest.approx(recall)
    assert "purity of categories" in [text.get_text() for text in meaning.get_legend().get_texts()]
    largest = manifest.metrics["fullest_prefixes"][0]
    assert fullest.patches[-1].get_width() == largest["items"]  # bars run upwards: the last one is at the top
    assert fullest.get_yticklabels()[-1].get_text().startswith(largest["prefix"])


def test_pictures_of_an_rqvae_with_its_history(workspace: Path) -> None:
    paths = plot.plot_quality(workspace)
    names = {"semantic_ids.png", "semantic_ids.svg", "rqvae_history.png", "rqvae_history.svg"}
    assert {path.name for path in paths} == names and all(path.stat().st_size > 1000 for path in paths)
    plot.remove_pictures(Workspace(workspace))
    assert not any(path.exists() for path in paths)
    plot.remove_pictures(Workspace(workspace))  # nothing left to remove


def test_long_titles_are_cut() -> None:
    label = plot._label({"prefix": "<a_1>", "titles": ["x" * 99]})
    assert label == "<a_1> " + "x" * 33 + "…"
    assert plot._label({"prefix": "<a_1>", "titles": []}) == "<a_1> "


def test_a_workspace_without_ids(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gti build-ids"):
        plot.plot_quality(tmp_path)
