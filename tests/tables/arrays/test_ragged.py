"""The arithmetic of lists that stand one behind the other, beside loops over lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.tables.arrays.ragged import offsets_of, owners_of, places_from, places_in_lists

LENGTHS = st.lists(st.integers(0, 5), max_size=8)


@given(LENGTHS)
def test_offsets_cut_an_array_into_its_lists(lengths: list[int]) -> None:
    offsets = offsets_of(np.asarray(lengths, dtype=np.int32))
    assert offsets.dtype == np.int64
    assert offsets.tolist() == [sum(lengths[:number]) for number in range(len(lengths) + 1)]


def test_offsets_of_many_short_lists_are_not_cut_off() -> None:
    assert offsets_of(np.full(300, 200, dtype=np.uint8))[-1] == 60_000


@given(st.lists(st.booleans(), max_size=8))
def test_offsets_of_a_mask_count_what_is_kept(kept: list[bool]) -> None:
    assert offsets_of(np.asarray(kept, dtype=bool)).tolist() == [sum(kept[:number]) for number in range(len(kept) + 1)]


@given(LENGTHS)
def test_each_entry_knows_its_list_and_its_place(lengths: list[int]) -> None:
    entries = [(owner, place) for owner, length in enumerate(lengths) for place in range(length)]
    array = np.asarray(lengths, dtype=np.int64)
    assert list(zip(owners_of(array).tolist(), places_in_lists(array).tolist(), strict=True)) == entries


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5)), max_size=8))
def test_places_are_those_of_each_list_in_turn(lists: list[tuple[int, int]]) -> None:
    starts, lengths = np.asarray(lists, dtype=np.int64).reshape(-1, 2).T
    places = places_from(starts, lengths)
    assert places.dtype == np.int64
    assert places.tolist() == [start + place for start, length in lists for place in range(length)]
