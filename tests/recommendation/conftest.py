"""A small workspace made by hand: semantic IDs, and a checkpoint that has their tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli import tables
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.checkpoints.token_names import all_names, semantic_id
from gti_cli.options import RunOptions
from gti_cli.recommendation.job import FinetuneJob, prepare_job
from gti_cli.recommendation.options import FinetuneOptions
from gti_cli.recommendation.task_data import read_task_data
from gti_cli.training.trainer import PlannedTrainer
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest
from tests.support.models import make_model, make_tokenizer

SIZES = [4, 3, 5]
ITEMS = 30
USERS = 24


@dataclass(frozen=True)
class World:
    """Paths of a workspace with semantic IDs and a checkpoint ``grounded``, of interactions and of queries."""

    workspace: Path
    interactions: Path
    queries: Path
    tokens: NewTokens
    histories: dict[str, list[int]]


def _semantic_ids(space: Workspace) -> Any:
    rng = np.random.default_rng(1)
    pairs = rng.permutation(np.stack(np.meshgrid(*[np.arange(k) for k in SIZES]), -1).reshape(-1, 3))[:ITEMS]
    with space.stage("build-ids", "semantic_ids", ["semantic_ids.parquet", "items.parquet"], options={}) as run:
        columns = {
            "item_id": [f"i{n}" for n in range(ITEMS)],
            "codes": pairs.astype(np.int32).tolist(),
            "tokens": [semantic_id(codes) for codes in pairs],
        }
        tables.write(run.path("semantic_ids.parquet"), columns)
        words = {
            "title": [f"dress number {n}" for n in range(ITEMS)],
            "description": [f"silk, size {n}" for n in range(ITEMS)],
        }
        tables.write(run.path("items.parquet"), {"item_id": columns["item_id"], "text": words["title"], **words})
        run.details.update({"levels": 3, "sizes": SIZES, "token_style": "lc-rec", "identity": "ids-of-the-test"})
    return run.result()


def _checkpoint(space: Workspace, ids: Any, kind: str, tied: bool, dtype: Any, collapsed: bool) -> NewTokens:
    import torch
    from transformers import AddedToken

    tokenizer = make_tokenizer()
    base = len(tokenizer)
    names = all_names(SIZES)
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in names])
    model = make_model(kind, len(tokenizer), tied=tied)
    if collapsed:
        with torch.no_grad():
            for matrix in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
                matrix[base:] = matrix[:base].mean(dim=0)
    levels = np.repeat(np.arange(len(SIZES)), SIZES)
    codes = np.concatenate([np.arange(size) for size in SIZES])
    tokens = NewTokens(names, np.arange(base, base + len(names)), levels.astype(np.int32), codes.astype(np.int32))
    with space.stage(
        "ground", "grounded", ["grounded"], options={}, upstream={"semantic_ids": ids}, checkpoint=True
    ) as run:
        save_checkpoint(run.path("grounded"), model.to(dtype), tokenizer, tokens)
        run.details.update({"semantic_ids": ids.identity, "model": "tiny", "initializer": "mean", "base_vocab": base})
    return tokens


def _queries() -> dict[str, list[Any]]:
    """Twelve queries, each with one item of every grade and a second good one; eight of them train."""
    rows = [
        (f"dress of size {n}", f"i{(n + step) % ITEMS}", grade, "train" if n < 8 else "valid" if n < 10 else "test")
        for n in range(12)
        for step, grade in enumerate((2, 1, 0, 2))
    ]
    return dict(zip(("query", "item_id", "relevance", "split"), map(list, zip(*rows, strict=True)), strict=True))


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    """``make_world("llama", tied=False, dtype=torch.float16)``."""

    def make(
        kind: str = "qwen3", *, tied: bool = True, dtype: Any = None, collapsed: bool = False, name: str = "space"
    ) -> World:
        import torch

        space = Workspace(tmp_path / name)
        ids = _semantic_ids(space)
        tokens = _checkpoint(space, ids, kind, tied, dtype or torch.float32, collapsed)
        rng = np.random.default_rng(2)
        # Item n is followed by n + 1 or n + 2, so that there is something to learn.
        histories: dict[str, list[int]] = {}
        for user in range(USERS):
            steps = rng.integers(1, 3, size=int(rng.integers(3, 13)))
            histories[f"u{user}"] = ((rng.integers(ITEMS) + np.cumsum(steps)) % ITEMS).tolist()
        rows = [(user, f"i{item}", time) for user, items in histories.items() for time, item in enumerate(items)]
        columns = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
        tables.write(tmp_path / "interactions.parquet", columns)
        tables.write(tmp_path / "queries.parquet", _queries())
        return World(
            tmp_path / name, tmp_path / "interactions.parquet", tmp_path / "queries.parquet", tokens, histories
        )

    return make


@pytest.fixture
def make_job() -> Callable[..., FinetuneJob]:
    """``make_job(world, ("next-item", "search"), history=4)``: a job as the stage prepares it."""

    def make(world: World, tasks: tuple[str, ...], *, dtype: str = "float32", **options: Any) -> FinetuneJob:
        space = Workspace(world.workspace)
        # LC-Rec's tasks go without interactions; then they have no validation examples.
        interactions = world.interactions if tasks != ("lc-rec",) else None
        queries = world.queries if "search" in tasks else None
        return prepare_job(
            find_checkpoint(space, None, "grounded", ""),
            read_task_data(space, interactions, queries, tasks),
            SIZES,
            FinetuneOptions(tasks=tasks, **options),
            RunOptions(seed=3, device="cpu", dtype=dtype),
            name="out",
            report_to=[],
            logs=Path("logs"),
            baselines=world.workspace / ".gti" / "baselines",
            embeddings=world.workspace / "embeddings.safetensors",
        )

    return make


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Manifest], Path], Manifest]:
    """Calls a fine-tuning of 20 steps twice: the first is interrupted in its 12th loss and leaves no ``result``, the
    second must go on there."""

    def twice(run: Callable[[], Manifest], result: Path) -> Manifest:
        loss, calls = PlannedTrainer.compute_loss, []

        def failing(self: Any, *args: Any, **more: Any) -> Any:
            calls.append(1)
            if len(calls) == 12:
                raise KeyboardInterrupt
            return loss(self, *args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(PlannedTrainer, "compute_loss", failing)
            with pytest.raises(KeyboardInterrupt):
                run()
        assert not result.exists()
        with monkeypatch.context() as patch:
            calls.clear()
            patch.setattr(PlannedTrainer, "compute_loss", lambda *a, **k: (calls.append(1), loss(*a, **k))[1])
            found = run()
        assert 0 < len(calls) < 15
        return found

    return twice
