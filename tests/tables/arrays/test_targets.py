"""Targets as places in users' lists, against a list of histories."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.tables.arrays.targets import History, Targets, last_items, with_targets
from gti_cli.tables.arrays.user_lists import UserLists

ROW_OF = {item: row for row, item in enumerate("edcba")}
LISTS = st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=6), min_size=1, max_size=5)


def made(lists: list[list[str]], chosen: list[bool]) -> tuple[Targets, list[History]]:
    """Some of the items but the first ones, as targets."""
    users = UserLists.of({f"u{n}": own for n, own in enumerate(lists)})
    all_places = [(n, place) for n, own in enumerate(lists) for place in range(1, len(own))]
    used = [pair for pair, use in zip(all_places, chosen, strict=False) if use]
    owners = np.array([n for n, _ in used], dtype=np.int64)
    places = users.offsets[owners] + np.array([place for _, place in used], dtype=np.int64)
    return Targets(users, owners, places), [History(f"u{n}", lists[n][:p], lists[n][p]) for n, p in used]


@given(LISTS, st.lists(st.booleans(), min_size=30, max_size=30), st.sets(st.sampled_from("abcde")), st.integers(1, 4))
def test_they_are_read_like_a_list(lists: list[list[str]], chosen: list[bool], items: set[str], most: int) -> None:
    found, expected = made(lists, chosen)
    assert found == expected and expected == found and list(found) == expected and len(found) == len(expected)
    assert found[::2] == expected[::2] and found[1:3] == expected[1:3] and (not expected or found[-1] == expected[-1])
    assert found.users == [entry.user_id for entry in expected]
    assert found.lengths.tolist() == [len(entry.items) for entry in expected]
    assert found.rows(ROW_OF).tolist() == [ROW_OF[entry.target] for entry in expected]
    for among in (True, False):
        assert with_targets(found, items, among=among) == with_targets(expected, items, among=among)
        assert with_targets(expected, items, among=among) == [e for e in expected if (e.target in items) == among]
    recent = sorted({ROW_OF[item] for entry in expected for item in entry.items[-most:]})
    assert last_items(found, most, ROW_OF).tolist() == last_items(expected, most, ROW_OF).tolist() == recent


def test_other_targets_are_not_equal() -> None:
    found, _ = made([["a", "b", "c", "b"]], [True] * 3)
    assert found[:1] != found[1:2] and found[:1] != found[:2] and found[:2] == found[:2]


def test_targets_that_are_made_of_histories() -> None:
    entries = [History("u", ["a", "b", "a"], "b"), History("v", ["c"], "a"), History("u", ["a", "b"], "c")]
    row_of = {"a": 5, "b": 6, "c": 7}
    found = Targets.of(entries)
    assert list(found) == entries and list(found.item_ids) == ["b", "a", "c"] and list(found.users) == ["u", "v", "u"]
    assert list(found.histories(row_of)) == [[5, 6, 5], [7], [5, 6]]
    assert list(found.histories(row_of, 2)) == [[6, 5], [7], [5, 6]]
    assert found.are_repeats().tolist() == [True, False, False]
    assert Targets.joined(found, []) is found
    assert list(Targets.joined(found[:1], found[1:])) == list(Targets.joined(entries[:1], entries[1:])) == entries
