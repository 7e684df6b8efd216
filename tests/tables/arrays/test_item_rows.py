"""Rows of items against a dictionary, in a small catalogue and in one that has no dictionary."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.tables.arrays import item_rows
from gti_cli.tables.arrays.item_rows import ItemRows, names_in_order, rows_of
from gti_cli.tables.arrays.names import Names

ITEMS = st.lists(st.text(st.characters(codec="utf-8"), max_size=3), unique=True, max_size=12)


@pytest.mark.parametrize("few", [0, 100])
def test_they_equal_a_dictionary(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_rows, "_FEW", few)

    @given(ITEMS, ITEMS)
    def check(items: list[str], asked: list[str]) -> None:
        expected, found = {item: row for row, item in enumerate(items)}, ItemRows(Names.of(items))
        assert found == expected and list(found) == items and len(found) == len(items)
        for item in [*items, *asked, 7, None]:
            assert found.get(item) == expected.get(item) and (item in found) == (item in expected)
        rows = [expected.get(item, -1) for item in [*asked, *items]]
        assert rows_of(found, [*asked, *items]).tolist() == rows == rows_of(expected, [*asked, *items]).tolist()
        assert names_in_order(found) == items == names_in_order(dict(reversed(expected.items())))
        assert pickle.loads(pickle.dumps(found)) == expected

    check()


def test_two_items_with_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_rows, "_FEW", 0)
    monkeypatch.setattr(item_rows, "hash", len, raising=False)
    found = ItemRows(Names.of(["ab", "c", "de"]))
    assert [found.get(item, -1) for item in ("ab", "c", "de", "fg", "h")] == [0, 1, 2, -1, -1]
