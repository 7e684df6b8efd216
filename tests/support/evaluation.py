"""A small workspace made by hand: semantic IDs (two items share one), a checkpoint with their tokens, interactions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gti_cli import tables
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.checkpoints.token_names import all_names, semantic_id
from gti_cli.prompts.next_item import encode_history
from gti_cli.prompts.prompt_file import PROMPT_FILE, write_prompt_file
from gti_cli.workspace import Workspace
from tests.support.models import make_model, make_tokenizer
from tests.support.prompts import encode_query

SIZES = [4, 3, 5]
ITEMS = 26
USERS = 17
HISTORY = 4


@dataclass(frozen=True)
class World:
    """Paths of the workspace and of the interactions; the catalogue's codes and ids; each user's items by row."""

    workspace: Path
    interactions: Path
    codes: np.ndarray
    item_ids: list[str]
    histories: dict[str, list[int]]


def make_codes() -> np.ndarray:
    """(ITEMS, 3) codes; items 3 and 7 have the same."""
    rng = np.random.default_rng(1)
    codes = rng.permutation(np.stack(np.meshgrid(*[np.arange(k) for k in SIZES]), -1).reshape(-1, 3))[:ITEMS]
    codes[7] = codes[3]
    return codes.astype(np.int32)


def add_semantic_ids(space: Workspace, codes: np.ndarray, identity: str = "made", sizes: Sequence[int] = SIZES) -> Any:
    """Write the artifact ``semantic_ids``."""
    outputs = ["semantic_ids.parquet", "items.parquet"]
    options = {"identity": identity, "items": len(codes)}
    with space.stage("build-ids", "semantic_ids", outputs, options=options, force=True) as run:
        ids = [f"i{n}" for n in range(len(codes))]
        columns = {"item_id": ids, "codes": codes.tolist(), "tokens": [semantic_id(row) for row in codes]}
        tables.write(run.path("semantic_ids.parquet"), columns)
        titles = [f"Dress number {n}" for n in range(len(codes))]
        tables.write(run.path("items.parquet"), {"item_id": ids, "text": titles, "title": titles})
        run.details.update({"levels": 3, "sizes": list(sizes), "token_style": "lc-rec", "identity": identity})
    return run.result()


def add_checkpoint(
    space: Workspace,
    ids: Any,
    name: str = "finetuned",
    seed: int = 0,
    kind: str = "qwen3",
    interactions: Path | None = None,
    also: Callable[[Path], object] | None = None,
    **more: Any,
) -> None:
    """Write a checkpoint as `finetune` leaves it: the artifact ``name``, trained on ``interactions`` if given.

    ``also`` writes further files into its folder. ``more`` are fields of the model's configuration.
    """
    tokenizer = make_tokenizer()
    base, names = len(tokenizer), all_names(SIZES)
    tokenizer.add_tokens(names)
    levels = np.repeat(np.arange(len(SIZES)), SIZES).astype(np.int32)
    codes = np.concatenate([np.arange(size) for size in SIZES]).astype(np.int32)
    tokens = NewTokens(names, np.arange(base, base + len(names)), levels, codes)
    options = {"history": HISTORY, "seed": seed}
    inputs, upstream = {"interactions": interactions}, {"semantic_ids": ids}
    with space.stage(
        "finetune", name, [name], options=options, inputs=inputs, upstream=upstream, checkpoint=True
    ) as run:
        save_checkpoint(run.path(name), make_model(kind, len(tokenizer), seed=seed, **more), tokenizer, tokens)
        if also is not None:
            also(run.path(name))
        run.details.update({"semantic_ids": ids.identity, "model": "tiny", "initializer": "mean", "base_vocab": base})


def add_prompt_file(folder: Path, tasks: tuple[str, ...] = ("next-item",)) -> dict[str, Any]:
    """Write the questions into the folder of a checkpoint, as `finetune` does, and return what they are."""
    write_prompt_file(
        folder,
        load_tokenizer(str(folder)),
        tasks,
        item_tokens=semantic_id([0, 0, 0]),
        levels=len(SIZES),
        style="lc-rec",
        wordings=2,
        history=HISTORY,
    )
    content: dict[str, Any] = json.loads((folder / PROMPT_FILE).read_text("utf-8"))
    return content


def make_histories() -> dict[str, list[int]]:
    """User -> rows in time order; histories of 2 to 9 items, so that some have no target and some are cut."""
    rng = np.random.default_rng(2)
    return {f"u{n}": rng.integers(0, ITEMS, 2 + n % 8).tolist() for n in range(USERS)}


def write_interactions(path: Path, histories: dict[str, list[int]], name: Callable[[int], str] = "i{}".format) -> Path:
    """Write the table; ``name`` gives an item's id."""
    rows = [(user, name(item), time) for user, items in histories.items() for time, item in enumerate(items)]
    columns = zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True)
    tables.write(path, dict(columns))
    return path


def make_world(folder: Path, kind: str = "qwen3") -> World:
    """All of it below ``folder``."""
    space, codes, histories = Workspace(folder / "space"), make_codes(), make_histories()
    add_checkpoint(space, add_semantic_ids(space, codes), kind=kind)
    interactions = write_interactions(folder / "interactions.parquet", histories)
    return World(folder / "space", interactions, codes, [f"i{n}" for n in range(ITEMS)], histories)


@torch.inference_mode()
def item_scores(world: World) -> dict[str, np.ndarray]:
    """User -> log-probability of every item after the user's last HISTORY items before the test item."""
    folder = str(world.workspace / "finetuned")
    tokenizer, model = load_tokenizer(folder), load_model(folder, torch.device("cpu"), torch.float32)
    answers = [tokenizer(semantic_id(row), add_special_tokens=False)["input_ids"] for row in world.codes]
    found = {}
    for user, items in world.histories.items():
        if len(items) < 3:
            continue
        shown = [semantic_id(world.codes[row]) for row in items[:-1][-HISTORY:]]
        prompt = encode_history(tokenizer, shown)
        batch = torch.tensor([prompt + answer for answer in answers])
        logits = model(batch).logits[:, len(prompt) - 1 : -1].log_softmax(-1)
        found[user] = logits.gather(-1, torch.tensor(answers)[..., None]).sum((1, 2)).numpy()
    return found


@torch.inference_mode()
def query_scores(world: World, text: str) -> np.ndarray:
    """(ITEMS,) log-probability of every item behind the query."""
    folder = str(world.workspace / "finetuned")
    tokenizer, model = load_tokenizer(folder), load_model(folder, torch.device("cpu"), torch.float32)
    answers = [tokenizer(semantic_id(row), add_special_tokens=False)["input_ids"] for row in world.codes]
    prompt = encode_query(tokenizer, text)
    logits = model(torch.tensor([prompt + answer for answer in answers])).logits[:, len(prompt) - 1 : -1]
    found: np.ndarray = logits.log_softmax(-1).gather(-1, torch.tensor(answers)[..., None]).sum((1, 2)).numpy()
    return found
