"""The stage `gti evaluate`: every user's held-out item, ranked among all items of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gti_cli import console, tables
from gti_cli.decoding.parts import SearchRequest, SearchResult, extra_beams
from gti_cli.decoding.trie import Trie
from gti_cli.errors import InputError
from gti_cli.evaluation.baselines.base import train_counts
from gti_cli.evaluation.baselines.cache import Floats, Measured, write_baselines
from gti_cli.evaluation.baselines.run import Setting, evaluate_baselines
from gti_cli.evaluation.evaluate_queries import evaluate_queries
from gti_cli.evaluation.lists import as_table, write_lists
from gti_cli.evaluation.metrics.intervals import bounds
from gti_cli.evaluation.metrics.ranking import Ranks, averages, of_lists, per_user
from gti_cli.evaluation.metrics.slices import masks, sliced
from gti_cli.evaluation.options import EvaluateKeywords, EvaluateOptions
from gti_cli.evaluation.plan import Plan, make_plan, output_name, run_stage
from gti_cli.evaluation.ranking import recommend_items
from gti_cli.evaluation.sample import drawn
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.prompts.next_item import cap, encode_items, frame
from gti_cli.tables.histories import History, Splits, read_interactions, split
from gti_cli.workspace import StageRun, Workspace, write_json
from gti_cli.workspace.manifest import Manifest, digest_path

if TYPE_CHECKING:
    from typing_extensions import Unpack


def evaluate(
    interactions: Path | str | None = None,
    workspace: Path | str = Path("gti-workspace"),
    *,
    queries: Path | str | None = None,
    checkpoint: str | None = None,
    name: str | None = None,
    **keywords: Unpack[EvaluateKeywords],
) -> Manifest:
    """Rank all items for every user with a target, or for every query, by a search over the trie of semantic IDs.

    Under torchrun the processes divide the work; the first one collects and writes. What a killed run had searched is
    taken up by the next one with the same inputs and options.

    Args:
        interactions: the table that `finetune` read; or queries: the table of queries.
        checkpoint: default ``finetuned``. name: of the output below ``evaluation/`` (None: the checkpoint's; with
            ``-search`` behind it for queries).
        keywords: see `EvaluateOptions` and `gti_cli.options.RunOptions`.

    Raises:
        InputError: too few beams, nobody to evaluate, a checkpoint without or with other new tokens.
    """
    refuse_unknown(keywords, EvaluateOptions, RunOptions)
    if (interactions is None) == (queries is None):
        raise InputError("give either interactions or queries", remedy="pass --interactions or --queries")
    if queries is not None and keywords.get("history") is not None:
        raise InputError("--history is about users' items, and queries have none", remedy="leave it out")
    how = pick(RunOptions, keywords)
    plan = make_plan(
        Workspace(workspace),
        checkpoint,
        pick(EvaluateOptions, keywords),
        seed=how.seed,
        device=how.device,
        dtype=how.dtype,
    )
    if interactions is not None:
        return _evaluate_users(plan, interactions, name, how)
    assert queries is not None
    return evaluate_queries(plan, queries, name, how)


def _evaluate_users(plan: Plan, interactions: Path | str, name: str | None, how: RunOptions) -> Manifest:
    splits = split(read_interactions(interactions, plan.catalogue.row_of()))
    entries = splits.test if plan.options.split == "test" else splits.valid
    if not entries:
        raise InputError(
            f"no user has a {plan.options.split} item", where=str(interactions), remedy="use another --split"
        )
    everybody = len(entries)
    entries = drawn(entries, lambda entry: entry.user_id, plan.options.sample, plan.seed)
    artifact, other = output_name(plan, name), _is_other_table(plan, interactions)
    if other:
        console.warn(
            f"{plan.name} was fine-tuned on another table of interactions than {interactions}: targets may have been "
            "trained on, and baselines learn from this table alone"
        )
    return run_stage(
        plan,
        artifact,
        how,
        lambda trie, run: search_users(plan, entries, trie, run),
        lambda trie, answered, run: _report(plan, splits, entries, trie, answered, run, run.path(artifact)),
        details={"other_table": True} if other else {},
        counts={"not_drawn": everybody - len(entries)},
        options={
            "history": plan.options.history,
            "filter_seen": plan.options.filter_seen,
            "baselines": list(plan.options.baselines),
        },
        inputs={"interactions": interactions},
    )


def _is_other_table(plan: Plan, interactions: Path | str) -> bool:
    """Does the checkpoint say that it was fine-tuned on other interactions than these?"""
    trained = plan.checkpoint.manifest.inputs.get("interactions") if plan.checkpoint.manifest else None
    return trained is not None and trained["sha256"] != digest_path(Path(interactions))


def search_users(plan: Plan, entries: Sequence[History], trie: Trie, run: StageRun) -> SearchResult:
    """Search for every user, in the order of ``entries``."""
    tokenizer, searcher = plan.load(trie)
    row_of, around = plan.catalogue.row_of(), frame(tokenizer, plan.catalogue.tokens[0])
    item_ids = encode_items(tokenizer, plan.catalogue.tokens, plan.checkpoint.item_tokens()).tolist()
    shown = [cap(entry.items, plan.options.history)[0] for entry in entries]
    asked = SearchRequest(
        [around.search_prompt([item_ids[row_of[item]] for item in items]) for items in shown],
        [extra_beams(len(set(entry.items)) if plan.options.filter_seen else 0) for entry in entries],
        list_length=plan.options.ks[-1],
        beams=int(plan.options.beams or 0),
        exact=plan.options.search == "exact",
    )
    run.counts["widest_beam"] = asked.beams + max(asked.extra)
    return plan.search(searcher, asked, run, "Evaluating", "users")


def _report(
    plan: Plan,
    splits: Splits,
    entries: Sequence[History],
    trie: Trie,
    answered: SearchResult,
    run: StageRun,
    folder: Path,
) -> None:
    options, row_of = plan.options, plan.catalogue.row_of()
    lists, ranks = recommend_items(
        answered.ranking, trie, entries, row_of, most=options.ks[-1], filter_seen=options.filter_seen
    )
    values = per_user(ranks, options.ks)
    found = of_lists(as_table(lists, options.ks[-1]), options.ks, train_counts(splits.train, row_of))
    cache = plan.space.path(".gti") / "baselines"
    setting = Setting(
        splits, options.split, entries, row_of, options.ks, options.filter_seen, plan.seed, plan.device, cache
    )
    baselines, tuning = evaluate_baselines(options.baselines, setting)
    users = [entry.user_id for entry in entries]
    run.metrics.update(
        metrics={**averages(values), **found},
        baselines={name: one.metrics for name, one in baselines.items()},
        tuning=tuning,
        intervals=bounds(values, users),
        baseline_intervals={name: bounds(one.values, users) for name, one in baselines.items()},
    )
    run.metrics["slices"] = sliced(values, masks(entries, splits.train))
    run.counts.update(
        splits.counts,
        evaluated=len(entries),
        catalogue=len(row_of),
        semantic_ids=trie.leaves,
        beams=options.beams,
        interactions_not_shown=sum(cap(entry.items, options.history)[1] for entry in entries),
        lists_shorter_than_k=sum(len(found.rows) < options.ks[-1] for found in lists),
        targets_in_history=sum(entry.target in entry.items for entry in entries),
    )
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", {**run.metrics, "counts": run.counts})
    write_lists(folder, "user_id", users, lists, plan.catalogue.item_ids)
    keys = {
        "user_id": users,
        "target": [entry.target for entry in entries],
        "history": np.asarray([len(entry.items) for entry in entries], dtype=np.int32),
    }
    _write_users(folder, keys, ranks, values, baselines)


def _write_users(
    folder: Path,
    keys: dict[str, Any],
    ranks: Ranks,
    values: dict[str, Floats],
    baselines: Mapping[str, Measured],
) -> None:
    """``per_user.parquet``: one row a target; a user's several targets differ in ``history``, the items before it.
    The same of each baseline in ``baselines/``.
    """
    tables.write(folder / "per_user.parquet", {**keys, "items_ahead": ranks.ahead, "items_tied": ranks.ties, **values})
    write_baselines(folder, keys, baselines)
