from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from gti_cli.errors import InputError
from gti_cli.serving.options import ServeKeywords, ServeOptions


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, "--api-key-file"),
        ({"host": "::"}, "--api-key-file"),
        ({"host": "shop.example"}, "--api-key-file"),
        ({"port": 70000}, "--port"),
        ({"search": "fast"}, "--search"),
        ({"max_batch": 301}, "--max-batch"),
        ({"max_users": 0}, "--max-users"),
        ({"max_wait_ms": -1.0}, "--max-wait-ms"),
        ({"timeout": float("nan")}, "--timeout"),
        ({"beams": 20}, "--max-k"),
        ({"max_queue": 10}, "--max-queue"),
    ],
)
def test_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ServeOptions(**options).check()


def test_loopback_needs_no_key_and_other_addresses_take_one() -> None:
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        ServeOptions(host=host).check()
    ServeOptions(host="0.0.0.0", api_key_file=Path("keys")).check()


def test_keywords_are_the_fields() -> None:
    assert set(get_type_hints(ServeKeywords)) == {entry.name for entry in dataclasses.fields(ServeOptions)}
