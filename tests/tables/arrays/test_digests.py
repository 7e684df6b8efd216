"""Digests of histories."""

from __future__ import annotations

import numpy as np

from gti_cli.tables.arrays.digests import digest_names, digest_targets, digest_users
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
