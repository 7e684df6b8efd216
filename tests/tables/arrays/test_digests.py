"""Digests of histories."""

from __future__ import annotations

import hashlib
import json
import struct

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


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_caches_of_earlier_runs_keep_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digests written down byte by byte: another one would make every cache of a workspace worthless."""
    assert digest_names(["u", "ö"]) == sha256(b'["u", "\\u00f6"]\n')
    lists = UserLists.of({"u": ["a", "e"], "ö": [], "v": ["c"]})
    users = sha256(b'["u", "\\u00f6", "v"]\n')
    expected = sha256(users.encode(), struct.pack("<4q", 0, 2, 2, 3), struct.pack("<3i", 4, 0, 2))
    assert digest_users(lists, ROW_OF) == expected
    targets = Targets(lists, np.array([0, 2]), np.array([1, 0]))
    assert digest_targets(targets, ROW_OF) == sha256(
        expected.encode(), struct.pack("<2q", 0, 2), struct.pack("<2q", 1, 0)
    )
    entry = json.dumps(json.dumps(["u", ["a"], "e"]))
    assert digest_targets([History("u", ["a"], "e")], ROW_OF) == sha256(f"[{entry}]\n".encode())
    monkeypatch.setattr(digests, "_AT_ONCE", 2)
    assert digest_names("abc") == sha256(b'["a", "b"]\n["c"]\n')


def test_json_in_pieces_is_the_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_AT_ONCE", 2)
    lists = [["a", "ö"], [], ["b"], ["c"], ["d"]]
    value = [[lists, [], [("a", 1)], True], {"k": 1.5}, None]
    expected = hashlib.sha256(json.dumps(value).encode()).hexdigest()
    assert digest_json(value) == expected
    assert digest_json([[iter(lists), iter([]), iter([("a", 1)]), True], {"k": 1.5}, None]) == expected
