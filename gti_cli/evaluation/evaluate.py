"""The stage `gti evaluate`: every user's held-out item, ranked among all items of the catalogue.

From a user's history to ``metrics.json``:

1. `gti_cli.tables.histories` reads the table and divides it (`read_interactions`, `split`).
2. `gti_cli.prompts.next_item` makes the prompts, and `gti_cli.decoding.search_parts` searches for the best semantic
   IDs; both are called in `_search`.
3. `gti_cli.evaluation.recommended_lists` turns semantic IDs into items and finds the target's rank.
4. `gti_cli.evaluation.user_results` turns ranks into numbers with `gti_cli.metrics`, and writes ``metrics.json``.

`gti_cli.evaluation.evaluate_queries` does the same for queries, and `gti_cli.evaluation.evaluate_blend` for blends.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gti_cli import console, tables
from gti_cli.blends.stored_blend import blend_name
from gti_cli.cards.card import refresh_card
from gti_cli.cards.trained_tasks import say_if_untrained
from gti_cli.decoding.search_parts import SearchRequest, SearchResult, extra_beams
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.errors import InputError
from gti_cli.evaluation.cold_start import find_held_out, recorded_split, unseen_detail
from gti_cli.evaluation.evaluate_blend import evaluate_blend
from gti_cli.evaluation.evaluate_queries import evaluate_queries
from gti_cli.evaluation.options import EvaluateKeywords, EvaluateOptions
from gti_cli.evaluation.plan import EvaluationPlan, make_plan, open_stage, output_name
from gti_cli.evaluation.plot import remove_pictures
from gti_cli.evaluation.recommended_lists import recommend_items
from gti_cli.evaluation.user_results import EvaluatedUsers, Surroundings, read_users, write_user_results
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.prompts.next_item import encode_items, make_frame
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import StageRun, Workspace, processes
from gti_cli.workspace.inputs import is_other_input
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from typing_extensions import Unpack


def evaluate(
    interactions: Path | str | None = None,
    workspace: Path | str = Path("gti-workspace"),
    *,
    queries: Path | str | None = None,
    checkpoint: str | None = None,
    base: str | None = None,
    name: str | None = None,
    **keywords: Unpack[EvaluateKeywords],
) -> Manifest:
    """Rank all items for every user with a held-out item, or for every query, by a search over the semantic IDs.

    Under torchrun the processes divide the work; the first one collects and writes. If a run is killed, the next run
    with the same inputs and options goes on from the parts that are finished.

    Args:
        interactions: Table of interactions, the one that `finetune` read.
        workspace: Folder of the workspace.
        queries: Instead of ``interactions``, a table of queries with graded items.
        checkpoint: Name in the workspace or path (None: ``finetuned``); also an adapter of PEFT, or a blend.
        base: Base model of an adapter (None: the one that it names).
        name: Name of the output below ``evaluation/`` (None: the checkpoint's; for queries with ``-search`` added).
        **keywords: See `EvaluateOptions`, `InteractionOptions` and `gti_cli.options.RunOptions`.

    Returns:
        The manifest of the evaluation.

    Raises:
        InputError: When there are too few beams, no user or query to evaluate, or the checkpoint has no new tokens or
            those of other semantic IDs.
    """
    refuse_unknown(keywords, EvaluateOptions, InteractionOptions, RunOptions)
    options, reading = pick(EvaluateOptions, keywords), pick(InteractionOptions, keywords)
    run_options = pick(RunOptions, keywords)
    _check_tables(interactions, queries, options)
    reading.check(reads_table=interactions is not None)
    interactions, queries = tables.locate_all([interactions, queries], run_options.columns)
    space = Workspace(workspace)
    blend = blend_name(space, checkpoint)
    if blend is not None:
        if interactions is None:
            raise InputError("a blend recommends to users, and cannot answer queries", remedy="give --interactions")
        return evaluate_blend(space, blend, interactions, options, reading, name, run_options)
    plan = make_plan(
        space,
        checkpoint,
        options,
        seed=run_options.seed,
        device=run_options.device,
        dtype=run_options.dtype,
        base=base,
    )
    if interactions is not None:
        manifest = _evaluate_users(plan, interactions, reading, name, run_options)
    else:
        assert queries is not None
        manifest = evaluate_queries(plan, queries, name, run_options)
    refresh_card(plan.space, plan.checkpoint, manifest)
    return manifest


def _check_tables(interactions: Path | str | None, queries: Path | str | None, options: EvaluateOptions) -> None:
    """Refuse any number of tables but one, and options that are about users where queries are evaluated."""
    if (interactions is None) == (queries is None):
        raise InputError(
            "there is nothing to evaluate on" if interactions is None else "interactions and queries are given at once",
            remedy="give --interactions or --queries",
        )
    if queries is not None and options.history is not None:
        raise InputError("--history is about users' items, and queries have none", remedy="leave it out")
    if queries is not None and options.hold_out_items:
        raise InputError("--hold-out-items is about users' items, and queries have none", remedy="leave it out")


def _evaluate_users(
    plan: EvaluationPlan,
    interactions: Path | str,
    reading: InteractionOptions,
    name: str | None,
    run_options: RunOptions,
) -> Manifest:
    held = find_held_out(plan.checkpoint.path, is_wanted=plan.options.hold_out_items)
    evaluated = read_users(interactions, plan.catalogue, plan.options, reading, plan.seed, held)
    artifact = output_name(plan, name)
    is_other_table = is_other_input(plan.checkpoint.known_manifest, "interactions", interactions)
    if is_other_table:
        console.warn(
            f"{plan.name} was fine-tuned on another table of interactions than {interactions}: targets may have been "
            "trained on, and baselines learn from this table alone"
        )
    elif _was_trained_with_other_duplicates(plan, reading):
        console.warn(f"{plan.name} was fine-tuned with another --duplicates: targets may have been trained on")
    details = say_if_untrained(plan.space, plan.checkpoint, "histories")
    details |= unseen_detail(plan.checkpoint.path, held)
    with open_stage(
        plan,
        artifact,
        run_options,
        options={
            "history": plan.options.history,
            "filter_seen": plan.options.filter_seen,
            "baselines": list(plan.options.baselines),
            **recorded_split(held),
            **reading.recorded(),
        },
        inputs={"interactions": interactions},
        details={**details, "other_table": True} if is_other_table else details,
        counts={"not_drawn": evaluated.not_drawn},
    ) as run:
        if not run.done:
            trie = build_trie(plan.catalogue.codes)
            result = _search(plan, evaluated, trie, run)
            if processes.rank() == 0:
                _write_results(plan, evaluated, trie, result, run, run.path(artifact))
                remove_pictures(plan.space, artifact)
    return run.result()


def _was_trained_with_other_duplicates(plan: EvaluationPlan, reading: InteractionOptions) -> bool:
    """Whether the checkpoint's manifest says that it was fine-tuned on other rows of the same table."""
    manifest = plan.checkpoint.known_manifest
    if manifest is None or "interactions" not in manifest.inputs:
        return False
    return manifest.options.get("duplicates") != reading.recorded().get("duplicates")


def _search(plan: EvaluationPlan, evaluated: EvaluatedUsers, trie: Trie, run: StageRun) -> SearchResult:
    """Make every user's prompt, and search for the best semantic IDs after it, in the order of the ranked targets."""
    entries = evaluated.ranked
    tokenizer, searcher, prior = plan.load(trie)
    row_of, prompt_frame = plan.catalogue.row_of(), make_frame(tokenizer, plan.catalogue.tokens[0])
    item_ids = encode_items(tokenizer, plan.catalogue.tokens, plan.checkpoint.item_tokens())
    shown = entries.histories(row_of, plan.options.history)
    seen = entries.histories(row_of).distinct().tolist() if plan.options.filter_seen else [0] * len(entries)
    request = SearchRequest(
        prompt_frame.search_prompts(shown, item_ids),
        [extra_beams(count) for count in seen],
        list_length=plan.options.ks[-1],
        beams=int(plan.options.beams or 0),  # `make_plan` has put the default there; None is for the type alone
        exact=plan.options.search == "exact",
        masses=prior.masses(shown) if prior else None,
    )
    if prior:
        run.details["behaviour_prior"] = prior.items.name
    run.counts["widest_beam"] = request.beams + max(request.extra)
    return plan.search(searcher, request, run, "Evaluating", "users")


def _write_results(
    plan: EvaluationPlan,
    evaluated: EvaluatedUsers,
    trie: Trie,
    result: SearchResult,
    run: StageRun,
    folder: Path,
) -> None:
    """Turn the search's result into lists and ranks, and write all results into ``folder``."""
    options, entries = plan.options, evaluated.ranked
    lists, ranks = recommend_items(
        result.ranking,
        trie,
        entries,
        plan.catalogue.row_of(),
        limit=options.ks[-1],
        filter_seen=options.filter_seen,
    )
    run.counts.update(
        semantic_ids=trie.leaves,
        beams=options.beams,
        interactions_not_shown=int(np.maximum(entries.lengths - (options.history or entries.lengths), 0).sum()),
    )
    around = Surroundings(plan.space, plan.catalogue, options, plan.seed, plan.device)
    write_user_results(around, evaluated, lists, ranks, run, folder)
