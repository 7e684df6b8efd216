"""Digests of histories."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from gti_cli.tables.arrays import digests
from gti_cli.tables.arrays.digests import digest_json, digest_names, digest_targets, digest_users
from gti_cli.tables.arrays.targets import History, Targets
from gti_cli.tables.arrays.user_lists import UserLists

ROW_OF = {item: row for row, item in enumerate("edcba")}


def test_another_content_has_another_digest() -> None:
    users, others = UserLists.of({"u": ["a", "b"], "v": ["c"]}), UserLists.of({"u": ["a"], "v": ["b", "c"]})
    assert digest_users(users, ROW_OF) == digest_users(UserLists.of({"u": ["a", "b"], "v": ["c"]}), ROW_OF)
    assert digest_users(users, ROW_OF) != digest_users(others, ROW_OF)
    assert digest_users(users, ROW_OF) != digest_users(UserLists.of({"u": ["a", "b"], "w": ["c"]}), ROW_OF)
    assert digest_names(["a", "b"]) != digest_names(["b", "a"]) and digest_names(["ab"]) != digest_names(["a", "b"])
    found = Targets(users, np.array([0]), np.array([1]))
    expected = [History("u", ["a"], "b")]
    assert found == expected
    assert digest_targets(found, ROW_OF) == digest_targets(found[:], ROW_OF) != digest_targets(found[1:], ROW_OF)
    assert digest_targets(expected, ROW_OF) != digest_targets(expected[1:], ROW_OF)


def test_json_in_pieces_is_the_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_AT_ONCE", 2)
    lists = [["a", "ö"], [], ["b"], ["c"], ["d"]]
    value = [[lists, [], [("a", 1)], True], {"k": 1.5}, None]
    expected = hashlib.sha256(json.dumps(value).encode()).hexdigest()
    assert digest_json(value) == expected
    assert digest_json([[iter(lists), iter([]), iter([("a", 1)]), True], {"k": 1.5}, None]) == expected
