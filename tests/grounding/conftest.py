"""Workspaces to ground in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gti_cli import tables
from tests.support import grounding_world
from tests.support.grounding import PHRASES
from tests.support.grounding_world import World


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    """``make_world(kind="qwen3", tied=True, dtype=torch.float32)``: 12 items, the last without a description."""

    def make(kind: str = "qwen3", *, name: str = "ws", **options: Any) -> World:
        return grounding_world.make_world(tmp_path / name, kind, **options)

    return make


@dataclass(frozen=True)
class Words:
    """A workspace whose checkpoint ``extended`` has three new words, and the table of their phrases."""

    workspace: Path
    pairs: Path


@pytest.fixture
def make_words(tmp_path: Path, make_checkpoint: Any) -> Callable[..., Words]:
    """``make_words(kind="qwen3", tied=True, context=[…])``: three new words, and further columns of their table."""
    from gti_cli.vocabulary.extend import extend

    def make(kind: str = "qwen3", *, tied: bool = True, name: str = "ws", **columns: Any) -> Words:
        base = make_checkpoint(kind, tied=tied, name=f"base-{name}")
        tables.write(tmp_path / "tokens.parquet", {"token": list(PHRASES)})
        extend(str(base), tmp_path / name, tokens=tmp_path / "tokens.parquet", init="random", device="cpu")
        pairs = tmp_path / f"pairs-{name}.parquet"
        tables.write(pairs, {"text": list(PHRASES.values()), "tokens": list(PHRASES), **columns})
        return Words(tmp_path / name, pairs)

    return make
