"""Digests of histories, for the keys of caches: another content gives another digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from gti_cli.tables.arrays.targets import History, Targets
from gti_cli.tables.arrays.user_lists import UserLists

_AT_ONCE = 1 << 14


def digest_names(names: Iterable[str]) -> str:
    """SHA-256 over ids in their order."""
    digest, remaining = hashlib.sha256(), iter(names)
    while some := list(islice(remaining, _AT_ONCE)):
        digest.update((json.dumps(some) + "\n").encode())
    return digest.hexdigest()


def digest_users(lists: UserLists, row_of: Mapping[str, int]) -> str:
    """SHA-256 over all users and their items.

    Args:
        lists: Items of each user.
        row_of: Row of the catalogue of each item.
    """
    digest = hashlib.sha256(digest_names(lists.users).encode())
    digest.update(lists.offsets.astype("<i8").tobytes())
    digest.update(lists.rows(row_of).astype("<i4").tobytes())
    return digest.hexdigest()


def digest_targets(entries: Sequence[History], row_of: Mapping[str, int]) -> str:
    """SHA-256 over targets and the histories before them.

    Args:
        entries: Targets with their histories.
        row_of: Row of the catalogue of each item.
    """
    if isinstance(entries, Targets):
        digest = hashlib.sha256(digest_users(entries.lists, row_of).encode())
        digest.update(entries.owners.astype("<i8").tobytes())
        digest.update(entries.places.astype("<i8").tobytes())
        return digest.hexdigest()
    return digest_names(json.dumps([entry.user_id, entry.items, entry.target]) for entry in entries)


def digest_json(value: Any) -> str:
    """SHA-256 of ``json.dumps(value)``, whose text is never whole in memory.

    Args:
        value: What JSON can hold. An iterator in it, or in a list in it, stands for the list of what it yields.
    """
    digest = hashlib.sha256()
    for piece in _json_pieces(value):
        digest.update(piece.encode())
    return digest.hexdigest()


def _json_pieces(value: Any) -> Iterator[str]:
    if not isinstance(value, list | Iterator):
        yield json.dumps(value)
        return
    yield "["
    separator = ""
    if isinstance(value, list):
        for entry in value:
            yield separator
            yield from _json_pieces(entry)
            separator = ", "
    else:
        while some := list(islice(value, _AT_ONCE)):
            yield separator + json.dumps(some)[1:-1]
            separator = ", "
    yield "]"
