"""What is left of a table without the held-out items, against the rows of a small one by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.tables.cold_start.cold_splits import describe_taken_out, split_by_items, without_items, without_pairs
from gti_cli.tables.cold_start.held_out_items import HeldOutItems
from gti_cli.tables.histories import History, Interactions, split
from gti_cli.tables.queries import Queries, Query

USERS = {
    "a": ["1", "T", "2", "3", "4"],
    "b": ["1", "V", "T", "2"],
    "c": ["2", "3", "V", "T"],
    "d": ["T", "V"],
    "e": ["V", "T", "1", "T"],
}
HELD = HeldOutItems(frozenset("T"), frozenset("V"))


def test_nothing_that_trains_has_a_held_out_item() -> None:
    divided = split_by_items(Interactions(USERS, None, "a table"), HELD)
    assert divided.known.train == {"a": ["1", "2"], "b": ["1"], "c": ["2", "3"]}
    assert divided.known.valid == [History("a", ["1", "2"], "3")]
    assert divided.known.counts["train_interactions"] == 5 and divided.known.counts["valid_targets"] == 1
    # The user e has no history before the validation item 1, once T and V are gone.
    assert divided.counts == {
        "held_out_test_items": 1,
        "held_out_valid_items": 1,
        "held_out_train_interactions": 6,
        "held_out_valid_targets": 3,
        "held_out_users": 2,
        "cold_valid_targets": 1,
    }
    assert "6 training interactions with them are left out, and 2 users have no others" in describe_taken_out(
        divided.counts
    )


def test_what_is_said_is_said_once_and_about_the_whole_table(capsys: pytest.CaptureFixture[str]) -> None:
    users = {**USERS, "f": ["T", "1", "2"]}  # without T, nothing stands before the validation item
    split(Interactions(users, None, "a table"))
    whole = capsys.readouterr().err
    split_by_items(Interactions(users, None, "a table"), HELD)
    assert capsys.readouterr().err == whole and "1 of 6 users have fewer than 3 interactions" in whole


def test_targets_keep_the_part_and_the_history_that_they_had() -> None:
    divided = split_by_items(Interactions(USERS, None, "a table"), HELD)
    # By leave-one-out of the whole table: no other item becomes the last one.
    assert divided.known.test == [
        History("a", ["1", "T", "2", "3"], "4"),
        History("b", ["1", "V", "T"], "2"),
        History("c", ["2", "3", "V"], "T"),
        History("e", ["V", "T", "1"], "T"),
    ]
    # To choose by: items held out for validation are known in histories, those for the test do not exist yet.
    assert divided.valid == [
        History("a", ["1", "2"], "3"),
        History("c", ["2", "3"], "V"),
        History("e", ["V"], "1"),
    ]
    assert divided.cold_valid == [History("c", ["2", "3"], "V")]
    assert [entry.target for entry in divided.all_valid] == ["3", "T", "V", "1"]


def test_texts_and_undecided_places_follow_their_rows() -> None:
    texts = {"intent": {"a": ["one", "two", "three"], "b": ["four"]}}
    given = Interactions({"a": ["1", "T", "2"], "b": ["3"]}, None, "", texts, np.asarray([True, True, False, True]))
    rest = without_items(given, {"T"})
    assert rest.items == {"a": ["1", "2"], "b": ["3"]} and rest.split == {"a": ["train", "test"], "b": ["train"]}
    assert rest.texts == {"intent": {"a": ["one", "three"], "b": ["four"]}}
    assert rest.undecided is not None and rest.undecided.tolist() == [True, False, True]


def test_pairs_of_queries() -> None:
    queries = [Query(str(n), "red", {"1": 2, "T": 2, "V": 0}) for n in range(3)]
    known, pairs = without_pairs(Queries(queries[:1], queries[1:2], queries[2:], {}, ""), HELD.all)
    assert pairs == 4 and known.train[0].relevance == known.valid[0].relevance == {"1": 2}
    assert known.test == queries[2:]
