"""Users' lists as arrays, against a dictionary of lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.tables.arrays import user_lists as module
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.user_lists import Texts, UserLists

LISTS = st.dictionaries(st.text("uvw", max_size=3), st.lists(st.sampled_from("abcde"), max_size=6), max_size=7)
ROW_OF = {item: row for row, item in enumerate("edcba")}


def assert_like_a_dictionary(lists: dict[str, list[str]], left_out: set[str], a: int, b: int) -> None:
    """Compare all that the arrays give with plain lists: without some items, and of some users alone."""
    found = UserLists.of(lists)
    assert found == lists and lists == found and UserLists.of(found) is found
    assert list(found) == list(lists) and list(found.items()) == list(lists.items())
    assert list(found.values()) == list(lists.values()) and len(found) == len(found.values()) == len(lists)
    assert {user: found[user] for user in lists} == lists and "nobody" not in found
    assert found.lengths.tolist() == [len(items) for items in lists.values()]
    items = [item for of_user in lists.values() for item in of_user]
    assert found.rows(ROW_OF).tolist() == [ROW_OF[item] for item in items] and found.rows(ROW_OF).dtype == np.int32
    assert [list(lists)[owner] for owner in found.owners()] == [user for user, own in lists.items() for _ in own]
    assert list(found.row_lists(ROW_OF)) == [[ROW_OF[item] for item in own] for own in lists.values()]
    assert found.distinct() == len(set(items)) and set(found.occurring()) == set(items)
    kept = {user: [item for item in own if item not in left_out] for user, own in lists.items()}
    kept = {user: own for user, own in kept.items() if own}
    rest = found.where(np.array([item not in left_out for item in items], dtype=bool))
    assert rest == kept and list(rest) == list(kept) and rest.distinct() == len(set(items) - left_out)
    assert (rest == found) == (kept == lists)
    if a <= b:
        assert found.part(a, b) == dict(list(lists.items())[a:b])


@given(LISTS, st.sets(st.sampled_from("abcde")), st.integers(0, 7), st.integers(0, 7))
def test_they_are_read_like_a_dictionary(lists: dict[str, list[str]], left_out: set[str], a: int, b: int) -> None:
    assert_like_a_dictionary(lists, left_out, a, b)


@pytest.mark.parametrize("left_out", [set(), {"a"}, {"a", "c"}])
def test_some_chosen_lists(left_out: set[str]) -> None:
    lists = {"u": ["a", "b", "a"], "v": [], "w": ["c"], "x": ["e", "a"]}
    for a, b in ((0, 4), (1, 3), (2, 2), (3, 9)):
        assert_like_a_dictionary(lists, left_out, a, b)
    found = UserLists.of(lists)
    assert (found.codes.dtype, found.offsets.dtype, found.owners().dtype) == (np.int32, np.int64, np.int64)
    assert found.part(1, 3).offsets.tolist() == [0, 0, 1]
    assert found.part(3, 1) == {} and [*found.texts] == ["a", "b", "c", "e"]


def test_an_item_that_the_catalogue_lacks_is_named() -> None:
    lists = UserLists.of({"u": ["a", "x"], "v": ["b"]})
    with pytest.raises(KeyError, match="x"):
        lists.rows(ROW_OF)
    # It is no fault where it does not occur.
    assert lists.part(1, 2).rows(ROW_OF).tolist() == [ROW_OF["b"]]
    # It alone is named, also beside an item in the catalogue's first row.
    with pytest.raises(KeyError, match="x"):
        UserLists.of({"u": ["e", "x"]}).rows(ROW_OF)


def test_rows_are_those_of_the_catalogue_that_is_asked_for() -> None:
    texts = Texts(["a", "x"])
    assert texts.rows(ROW_OF).tolist() == [4, -1] and texts.rows({"x": 0, "a": 1}).tolist() == [1, 0]
    assert texts.rows(ROW_OF).dtype == np.int64 and texts.rows(ROW_OF) is texts.rows(ROW_OF)


def test_the_same_codes_of_other_texts_are_other_lists() -> None:
    lists = UserLists.of({"u": ["a"], "v": ["b"]})
    assert lists != UserLists.of({"u": ["c"], "v": ["b"]}) and lists == UserLists.of({"v": ["b"], "u": ["a"]})
    # Of the same texts the arrays are compared, without a list for each user.
    one = UserLists.of({"u": ["a", "b"], "v": ["b"]})
    for users, offsets, codes, equal in (
        (one.users, one.offsets, one.codes, True),
        (one.users, one.offsets, one.codes[::-1], False),
        (one.users, np.array([0, 1, 3]), one.codes, False),
        (Names.of(["u", "w"]), one.offsets, one.codes, False),
    ):
        assert (UserLists(users, offsets.copy(), codes.copy(), one.texts) == one) == equal
    assert ("u", ["a"]) in lists.items() and ("u", ["b"]) not in lists.items() and ["b"] in lists.values()


def test_lists_that_are_made_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    lists = {"u": ["a"], "v": ["b", "c"], "w": [], "x": ["a", "d"], "y": ["e"]}
    found = UserLists.of(lists)
    assert list(found.values()) == list(lists.values()) and list(found.items()) == list(lists.items())
    rows = found.row_lists(ROW_OF)
    assert len(rows) == 5 and rows[1:3] == [[3, 2], []] and rows[0] == [4]
    for number in (-1, 5):
        with pytest.raises(IndexError):
            rows[number]
