from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gti_cli import tables
from gti_cli.semantic_ids.quality import figures, prefixes, report
from gti_cli.semantic_ids.quantizers.quantizer import residual_quantizer
from gti_cli.tables import BlockTable


def items_table(**columns: list[str | None]) -> BlockTable:
    size = len(next(iter(columns.values())))
    defaults = {"item_id": [f"i{row}" for row in range(size)], "text": [""] * size, "same_as": [None] * size}
    table = pa.table({name: pa.array(values, pa.string()) for name, values in {**defaults, **columns}.items()})
    return BlockTable(tables.locate("items.parquet"), table.schema, table)


def test_counts_of_repeated_texts_and_embeddings(capsys: pytest.CaptureFixture[str]) -> None:
    items = items_table(text=["a", "a", "a", "", "", "b"], same_as=[None, "i0", "i0", None, None, None])
    counts = report.count_items(items, np.zeros((6, 5), np.float32))
    assert counts == {"items": 6, "width": 5, "repeated_texts": 2, "identical_embeddings": 2}
    message = capsys.readouterr().err
    assert "2 items have the same embedding as another" in message and "'i1 = i0', 'i2 = i0'" in message


def test_nothing_is_warned_of_where_all_embeddings_differ(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.count_items(items_table(text=["a", "b"]), np.zeros((2, 3)))["identical_embeddings"] == 0
    assert capsys.readouterr().err == ""


def test_metrics_of_codes_with_a_suffix_level() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 3)).astype(np.float32)
    quantizer = residual_quantizer([rng.standard_normal((4, 3)).astype(np.float32)])
    before = rng.integers(4, size=(40, 1)).astype(np.int32)
    after = np.hstack([before, np.arange(40, dtype=np.int32)[:, None]])
    titles = [f"t{row}" for row in range(40)]
    items = items_table(title=titles, categories=["x", "y"] * 20)
    metrics = report.measure(items, vectors, quantizer, before, after, [4, 40], 7, "lc-rec")
    explained = figures.reconstruction(vectors, before, 1, quantizer.decode)[0]["explained_variance"]
    assert metrics["explained_variance"] == metrics["explained_variance_before"] == explained
    assert metrics["levels"][0]["explained_variance"] == explained
    assert "explained_variance" not in metrics["levels"][1] and metrics["levels"][1]["codes"] == 40
    assert metrics["collisions_before"] == figures.collision_figures(before)
    assert metrics["collisions_after"]["items"] == 0
    assert metrics["purity"] == {"categories": prefixes.purity(np.tile([0, 1], 20), after, 7)}
    assert "purity" not in report.measure(
        items_table(title=titles), vectors, quantizer, before, after, [4, 40], 7, "lc-rec"
    )


def test_an_item_is_shown_by_its_title_else_its_text_else_its_id() -> None:
    titled = items_table(text=["a", "b", ""], title=["T", None, None])
    assert report._titles(titled, [2, 0, 1, 0]) == ["i2", "T", "b", "T"]
    plain = items_table(text=["a", ""])
    assert report._titles(plain, [0, 1]) == ["a", "i1"]


@pytest.mark.parametrize(("noise", "warned"), [(True, True), (False, False)])
def test_neighbours_kept_near_chance(noise: bool, warned: bool, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(6, size=(300, 1)).astype(np.int32)
    centres = rng.standard_normal((6, 8))
    vectors = (rng.standard_normal((300, 8)) + (0 if noise else 5 * centres[codes[:, 0]])).astype(np.float32)
    quantizer = residual_quantizer([centres.astype(np.float32)])
    metrics = report.measure(items_table(text=["x"] * 300), vectors, quantizer, codes, codes, [6], 0, "lc-rec")
    first = metrics["neighbourhood"]["prefixes"][0]
    message = capsys.readouterr().err
    assert ("neighbours kept are near chance" in message) == warned
    if warned:
        assert f"{first['recall']:.3f}" in message and f"{first['by_chance']:.3f}" in message


def test_small_catalogues_are_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """Where every other item is a neighbour, or each has a first code of its own, nothing can be at chance."""
    rng = np.random.default_rng(0)
    for count, size in ((1, 1), (8, 2), (30, 30)):
        codes = (np.arange(count, dtype=np.int32) % size)[:, None]
        vectors = rng.standard_normal((count, 3)).astype(np.float32)
        quantizer = residual_quantizer([rng.standard_normal((size, 3)).astype(np.float32)])
        report.measure(items_table(text=["x"] * count), vectors, quantizer, codes, codes, [size], 0, "lc-rec")
    assert capsys.readouterr().err == ""
