"""Lists of rows as arrays, against lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.tables.arrays.row_lists import RowLists, lengths_of

LISTS = st.lists(st.lists(st.integers(0, 5), max_size=5), max_size=6)


@given(LISTS, st.one_of(st.none(), st.integers(0, 4)), st.integers(0, 5))
def test_they_are_the_lists(lists: list[list[int]], most: int | None, start: int) -> None:
    rows = RowLists.of(lists)
    assert lengths_of(lists).tolist() == lengths_of(rows).tolist() == rows.lengths.tolist()
    assert list(rows) == lists and rows.lengths.tolist() == [len(one) for one in lists]
    assert rows.distinct().tolist() == [len(set(one)) for one in lists]
    assert list(rows.last(most)) == [
        one[len(one) - most :] if most is not None and len(one) > most else one for one in lists
    ]
    users = np.repeat(np.arange(len(lists)), 6)[start:]
    asked = np.tile(np.arange(6), len(lists))[start:]
    assert rows.has(users, asked).tolist() == [row in lists[user] for user, row in zip(users, asked, strict=True)]
