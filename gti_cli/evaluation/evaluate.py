"""The stage `gti evaluate`: every user's held-out item, ranked among all items of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gti_cli import console, tables
from gti_cli.decoding.beam import Ranking, TrieTensors
from gti_cli.decoding.exact import exact_search
from gti_cli.decoding.search import Recommended, search_all
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.errors import InputError
from gti_cli.evaluation.baselines import ItemKNN, Popularity, rank_targets, train_counts
from gti_cli.evaluation.intervals import intervals
from gti_cli.evaluation.metrics import Ranks, averages, of_lists, per_user
from gti_cli.evaluation.ranking import as_table, recommend_items
from gti_cli.evaluation.slices import masks, sliced
from gti_cli.histories.splits import History, Splits, read_interactions, split
from gti_cli.manifest import Manifest
from gti_cli.prompts.next_item import cap, encode_items, frame
from gti_cli.tables import SemanticIDs
from gti_cli.training.checkpoints import Checkpoint, check_same_ids, find_checkpoint, load_model, load_tokenizer
from gti_cli.training.precision import choose_device, choose_dtype, describe, seed_everything
from gti_cli.vocabulary.tokens import check_tokenizer, code_ids
from gti_cli.workspace import StageRun, Workspace, check_output_name, write_json

if TYPE_CHECKING:
    import torch

KS = (5, 10, 20, 50, 100)
SEARCHES = ("beam", "exact")
DEFAULT_HISTORY = 20


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated: everything resolved and checked before a model is loaded.

    Attributes:
        ks: cut-offs, ascending. needed: semantic IDs in a list, so that the largest cut-off is filled.
        search: one of `SEARCHES`. beams: hypotheses kept. history: most items shown. cut: items not shown.
    """

    checkpoint: Checkpoint
    catalogue: SemanticIDs
    sizes: list[int]
    splits: Splits
    entries: list[History]
    ks: list[int]
    needed: int
    search: str
    beams: int
    history: int
    cut: int
    filter_seen: bool


def evaluate(
    interactions: Path | str,
    workspace: Path | str = Path("gti-workspace"),
    *,
    checkpoint: str | None = None,
    split: str = "test",
    k: Sequence[int] = KS,
    search: str = "beam",
    beams: int | None = None,
    batch_size: int = 32,
    history: int | None = None,
    filter_seen: bool = False,
    name: str | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    force: bool = False,
    resume: bool = True,
) -> Manifest:
    """Rank all items for every user with a target, by a search over the trie of semantic IDs.

    Args:
        interactions: the table that `finetune` read. checkpoint: default ``finetuned``. split: ``test`` or ``valid``.
        k: cut-offs of the metrics. beams: at least the largest (None: as many as are needed).
        search: ``beam``, or ``exact``: provably the most probable items, and how often the beam missed one.
        batch_size: users in a batch; changes speed, not results. history: most items shown (None: as in fine-tuning).
        filter_seen: do not recommend items of the user's own history (beams make up for them).
        name: of the output below ``evaluation/`` (None: the checkpoint's). resume: has no effect.

    Raises:
        InputError: too few beams, nobody to evaluate, a checkpoint without or with other new tokens.
    """
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    plan = _plan(space, ids, Path(interactions), checkpoint, split, k, search, beams, history, filter_seen)
    own = Path(plan.checkpoint.path).name
    check_output_name(name or own, default=own or "finetuned")
    artifact = f"evaluation/{name or own}"
    chosen = choose_device(device)
    number_format = choose_dtype(dtype, chosen)
    with space.stage(
        "evaluate",
        artifact,
        [artifact],
        options={
            "split": split,
            "k": plan.ks,
            "search": search,
            "beams": plan.beams,
            "history": plan.history,
            "filter_seen": filter_seen,
            "dtype": str(number_format).removeprefix("torch."),
            "checkpoint": plan.checkpoint.path if not plan.checkpoint.local else None,
        },
        inputs={
            "interactions": interactions,
            "semantic_ids": space.path("semantic_ids.parquet"),
            **plan.checkpoint.inputs(),
        },
        upstream={"semantic_ids": ids, **plan.checkpoint.upstream()},
        seed=seed,
        force=force,
        resume=resume,
    ) as run:
        if not run.done:
            seed_everything(seed)
            run.device = describe(chosen)
            _run(plan, run, run.path(artifact), chosen, number_format, batch_size)
    return run.result()


def _plan(
    space: Workspace,
    ids: Manifest,
    interactions: Path,
    given: str | None,
    part: str,
    k: Sequence[int],
    search: str,
    beams: int | None,
    history: int | None,
    filter_seen: bool,
) -> Plan:
    if search not in SEARCHES:
        raise InputError(f"--search {search!r} is not known", remedy="use beam or exact")
    if part not in ("test", "valid"):
        raise InputError(f"--split {part!r} is not known", remedy="use test or valid")
    ks = sorted(set(k))
    if not ks or ks[0] < 1:
        raise InputError("the cut-offs of --k must be positive", remedy="write for example --k 5,10,20")
    checkpoint = find_checkpoint(space, given, "finetuned", "gti finetune")
    new_tokens = checkpoint.new_tokens()
    check_same_ids(checkpoint, ids)
    code_ids(new_tokens, ids.details["sizes"])
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    splits = split(read_interactions(interactions, catalogue.row_of()))
    entries = splits.test if part == "test" else splits.valid
    if not entries:
        raise InputError(f"no user has a {part} item", where=str(interactions), remedy="use another --split")
    history = _history(checkpoint, history)
    # Items of the history that a list must not hold take places in the beam: room for them, so that none runs short.
    seen = max(len(set(entry.items)) for entry in entries) if filter_seen else 0
    needed = ks[-1] + seen
    if beams is not None and beams < needed:
        raise InputError(
            f"--beams {beams} is fewer than the {needed} that Recall@{ks[-1]} needs"
            + (f" beside {seen} seen items" if seen else ""),
            remedy=f"use --beams {needed} or more, or a smaller --k",
        )
    cut = sum(cap(entry.items, history)[1] for entry in entries)
    sizes = ids.details["sizes"]
    width = beams or needed
    return Plan(checkpoint, catalogue, sizes, splits, entries, ks, needed, search, width, history, cut, filter_seen)


def _history(checkpoint: Checkpoint, given: int | None) -> int:
    trained = checkpoint.manifest.options.get("history") if checkpoint.manifest else None
    if given is not None and given < 1:
        raise InputError(f"--history {given} shows nothing", remedy="use 1 or more")
    if given is not None and trained is not None and given != trained:
        console.warn(f"--history {given}, but the checkpoint was fine-tuned with {trained}")
    return int(given or trained or DEFAULT_HISTORY)


def _run(plan: Plan, run: StageRun, folder: Path, device: torch.device, dtype: torch.dtype, batch_size: int) -> None:
    import time

    row_of = plan.catalogue.row_of()
    trie = build_trie(plan.catalogue.codes)
    started = time.monotonic()
    ranking, found = find_ids(plan, trie, device, dtype, batch_size)
    run.measured["users_per_second"] = round(len(plan.entries) / (time.monotonic() - started), 2)
    lists, ranks = recommend_items(ranking, trie, plan.entries, row_of, most=plan.ks[-1], filter_seen=plan.filter_seen)
    values = per_user(ranks, plan.ks)
    counts = train_counts(plan.splits.train, row_of)
    baselines: dict[str, dict[str, float]] = {}
    for baseline in (Popularity(plan.splits.train, row_of), ItemKNN(plan.splits.train, row_of)):
        places, shown = rank_targets(
            baseline, plan.entries, row_of, filter_seen=plan.filter_seen, k=min(plan.ks[-1], len(row_of))
        )
        baselines[baseline.name] = {**averages(per_user(places, plan.ks)), **of_lists(shown, plan.ks, counts)}
    table = as_table(lists, plan.ks[-1])
    run.metrics.update(metrics={**averages(values), **of_lists(table, plan.ks, counts)}, baselines=baselines)
    users = [entry.user_id for entry in plan.entries]
    run.metrics["intervals"] = {name: list(bounds) for name, bounds in intervals(values, users).items()}
    run.metrics["slices"] = sliced(values, masks(plan.entries, plan.splits.train))
    run.counts.update(
        plan.splits.counts,
        evaluated=len(plan.entries),
        catalogue=len(row_of),
        semantic_ids=trie.leaves,
        beams=plan.beams,
        **found,
        interactions_not_shown=plan.cut,
        lists_shorter_than_k=sum(len(found.rows) < plan.ks[-1] for found in lists),
        targets_in_history=sum(entry.target in entry.items for entry in plan.entries),
    )
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", {**run.metrics, "counts": run.counts})
    _write_tables(folder, plan, lists, ranks, values)


def find_ids(
    plan: Plan, trie: Trie, device: torch.device, dtype: torch.dtype, batch_size: int
) -> tuple[Ranking, dict[str, int]]:
    """Search for every user of the plan: ``Ranking`` in the order of ``plan.entries``; counts of an exact search."""
    tokenizer = load_tokenizer(plan.checkpoint.path)
    new_tokens = plan.checkpoint.new_tokens()
    check_tokenizer(tokenizer, new_tokens)
    model = load_model(plan.checkpoint.path, device, dtype)
    ids = code_ids(new_tokens, plan.sizes)
    tensors = TrieTensors(trie, ids, device)
    row_of, around = plan.catalogue.row_of(), frame(tokenizer, plan.catalogue.tokens[0])
    item_ids = encode_items(tokenizer, plan.catalogue.tokens, new_tokens).tolist()
    prompts = [
        around.search_prompt([item_ids[row_of[item]] for item in cap(entry.items, plan.history)[0]])
        for entry in plan.entries
    ]
    pad = int(tokenizer.pad_token_id)
    ranking = search_all(
        model, prompts, tensors, plan.beams, pad_id=pad, batch_size=batch_size, description="Evaluating"
    )
    if plan.search == "beam":
        return ranking, {}
    exact = exact_search(model, prompts, tensors, ranking, plan.needed)
    return exact.ranking, {
        "users_whose_beam_missed": int((exact.missed > 0).sum()),
        "semantic_ids_the_beam_missed": int(exact.missed.sum()),
        "prefixes_followed": int(exact.followed.sum()),
    }


def _write_tables(folder: Path, plan: Plan, lists: list[Recommended], ranks: Ranks, values: dict[str, Any]) -> None:
    item_ids = plan.catalogue.item_ids
    users = [entry.user_id for entry in plan.entries]
    lengths = [len(found.rows) for found in lists]
    tables.write(
        folder / "recommendations.parquet",
        {
            "user_id": [user for user, length in zip(users, lengths, strict=True) for _ in range(length)],
            "rank": np.concatenate([np.arange(1, length + 1, dtype=np.int32) for length in lengths]),
            "item_id": [item_ids[row] for found in lists for row in found.rows],
            "score": np.asarray([score for found in lists for score in found.scores], dtype=np.float32),
        },
    )
    tables.write(
        folder / "per_user.parquet",
        {
            "user_id": users,
            "target": [entry.target for entry in plan.entries],
            "history": np.asarray([len(entry.items) for entry in plan.entries], dtype=np.int32),
            "items_ahead": ranks.ahead,
            "items_tied": ranks.ties,
            **values,
        },
    )
