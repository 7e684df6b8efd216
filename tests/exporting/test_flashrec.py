from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.exporting.flashrec import flashrec_flags, layout, write_catalog


def test_a_catalog_of_shared_ids_and_scattered_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"share a semantic ID \('a', 'c'\)"):
        write_catalog(tmp_path / "x", ["a", "b", "c"], np.asarray([[1, 2], [1, 3], [1, 2]], dtype=np.int32))
    assert not list(tmp_path.iterdir())
    assert layout([np.arange(5, 9), np.arange(9, 11)]) == "5:10/4,2"
    with pytest.raises(InputError, match="one run"):
        layout([np.arange(5, 9), np.arange(10, 12)])


@pytest.mark.parametrize(
    ("sizes", "boundary", "flags", "problem"),
    [
        ((4, 4, 4), (22, 23), [], ""),
        ((4, 4, 4, 4), (26, 27), ["--sid", "10:25/4,4,4,4"], ""),  # FlashRec mistakes a fourth level for the boundary
        ((4, 4), None, ["--sid", "10:17/4,4"], "appends the token 18 to every prompt.*onerec"),
        ((4, 4), (30, 31), ["--sid", "10:17/4,4"], "appends the token 18"),
        ((4, 4, 4, 2), (24, 25), ["--sid", "10:23/4,4,4,2"], "two codes"),
    ],
)
def test_flags_and_warnings_for_flashrec(
    sizes: tuple[int, ...], boundary: tuple[int, int] | None, flags: list[str], problem: str
) -> None:
    ids = np.split(np.arange(10, 10 + sum(sizes)), np.cumsum(sizes)[:-1])
    result, warning = flashrec_flags(ids, boundary)
    assert result == flags and bool(warning) == bool(problem) and re.search(problem, warning)


def test_flashrec_reads_these_flags() -> None:
    config = pytest.importorskip("flashrec.config", reason="the package flashrec is not installed")
    assert config.parse_sid_spec("10:25/4,4,4,4") == ("10:25", "4,4,4,4", "26,27")


def test_the_catalog_maps_tuples_to_items_in_order(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_text("old")
    write_catalog(path, ["ä", "b"], np.array([[3, 17, 9], [0, 1, 2]], dtype=np.int32))
    assert list(json.loads(path.read_text("utf-8")).items()) == [("3,17,9", "ä"), ("0,1,2", "b")]
    assert [file.name for file in tmp_path.iterdir()] == ["catalog.json"]


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), start=st.integers(0, 1000))
def test_a_layout_says_where_each_code_is(sizes: list[int], start: int) -> None:
    ids = np.split(np.arange(start, start + sum(sizes)), np.cumsum(sizes)[:-1])
    bounds, counts = layout(ids).split("/")
    first, last = map(int, bounds.split(":"))
    assert [int(count) for count in counts.split(",")] == sizes
    assert list(range(first, last + 1)) == np.concatenate(ids).tolist()
