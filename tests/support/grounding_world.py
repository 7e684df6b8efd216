"""A small workspace made by hand: items with texts, semantic IDs, and a checkpoint ``extended``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from gti_cli import tables
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.checkpoints.token_names import all_names, semantic_id
from gti_cli.workspace import Workspace
from tests.support.models import make_model, make_tokenizer

SIZES = [3, 4]
OUTPUTS = ["semantic_ids.parquet", "items.parquet", "codebooks.safetensors"]
COLOURS, THINGS = ("red", "blue", "green"), ("dress", "jacket", "coat", "boots")


@dataclass(frozen=True)
class World:
    """A workspace, its new tokens, and each item's id, title and tokens."""

    workspace: Path
    tokens: NewTokens
    items: list[tuple[str, str, str]]


def make_world(folder: Path, kind: str = "qwen3", *, tied: bool = True, dtype: Any = torch.float32) -> World:
    """A workspace in ``folder``: 12 items, the last without a description."""
    space = Workspace(folder)
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
