"""A small workspace made by hand: items with texts, semantic IDs, and a checkpoint ``extended``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model, make_tokenizer
from safetensors.numpy import save_file

from gti_cli import tables
from gti_cli.training.checkpoints import save_checkpoint
from gti_cli.vocabulary.tokens import NewTokens, all_names, semantic_id
from gti_cli.workspace import Workspace

SIZES = [3, 4]
PHRASES = {"<frock>": "red evening dress", "<trench>": "grey wool coat", "boots": "leather ankle boots"}
OUTPUTS = ["semantic_ids.parquet", "items.parquet", "codebooks.safetensors"]
COLOURS, THINGS = ("red", "blue", "green"), ("dress", "jacket", "coat", "boots")


@dataclass(frozen=True)
class World:
    """A workspace, its new tokens, and each item's id, title and tokens."""

    workspace: Path
    tokens: NewTokens
    items: list[tuple[str, str, str]]


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    """``make_world(kind="qwen3", tied=True, dtype=torch.float32)``: 12 items, the last without a description."""

    def make(kind: str = "qwen3", *, tied: bool = True, dtype: Any = torch.float32, name: str = "ws") -> World:
        space = Workspace(tmp_path / name)
        codes = [(a, b) for a in range(3) for b in range(4)]
        titles = [f"{COLOURS[a]} {THINGS[b]}" for a, b in codes]
        ids = [f"i{n}" for n in range(12)]
        texts = [f"A {title} for the weekend, made of silk." for title in titles[:-1]] + [None]
        with space.stage("build-ids", "semantic_ids", OUTPUTS, options={}) as run:
            tokens = [semantic_id(pair) for pair in codes]
            columns = {"item_id": ids, "codes": np.asarray(codes, np.int32).tolist(), "tokens": tokens}
            tables.write(run.path("semantic_ids.parquet"), columns)
            tables.write(run.path("items.parquet"), {"item_id": ids, "title": titles, "description": texts})
            books = {f"level_{n}": np.random.default_rng(n).normal(size=(k, 5)) for n, k in enumerate(SIZES)}
            save_file({n: b.astype(np.float32) for n, b in books.items()}, run.path("codebooks.safetensors"))
            run.details.update({"levels": 2, "sizes": SIZES, "token_style": "lc-rec", "identity": "of-the-test"})
        new = _extended(space, run.result(), kind, tied, dtype)
        return World(space.root, new, list(zip(ids, titles, tokens, strict=True)))

    return make


def _extended(space: Workspace, ids: Any, kind: str, tied: bool, dtype: Any) -> NewTokens:
    from transformers import AddedToken

    tokenizer = make_tokenizer()
    base, names = len(tokenizer), all_names(SIZES)
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in names])
    model = make_model(kind, len(tokenizer), tied=tied).to(dtype)
    places = np.asarray([(level, code) for level, size in enumerate(SIZES) for code in range(size)], np.int32)
    new = NewTokens(names, np.arange(base, len(tokenizer), dtype=np.int64), places[:, 0], places[:, 1])
    with space.stage(
        "extend", "extended", ["extended"], options={}, upstream={"semantic_ids": ids}, checkpoint=True
    ) as run:
        save_checkpoint(run.path("extended"), model, tokenizer, new)
        run.details.update(semantic_ids="of-the-test", model="tiny", initializer="random", base_vocab=base)
    return new


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
