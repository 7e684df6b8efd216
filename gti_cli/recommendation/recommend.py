"""`gti recommend`: items for a history, for a query, or for each row of a table. It writes nothing to the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console, tables
from gti_cli.blends.stored_blend import blend_name
from gti_cli.cards.trained_tasks import say_if_untrained
from gti_cli.checkpoints.devices import seed_everything
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.decoding.search_parts import ScoreRequest
from gti_cli.options import check_seed, pick, refuse_unknown
from gti_cli.prompts.next_item import DEFAULT_HISTORY
from gti_cli.recommendation.listing.allowed import allowed_mask
from gti_cli.recommendation.listing.blended import check_blend_options, recommend_by_blend
from gti_cli.recommendation.listing.candidates import Candidates, leave_out, rank_candidates, read_candidates
from gti_cli.recommendation.listing.parts_folder import parts_folder
from gti_cli.recommendation.listing.recommendations import Recommendations, as_recommendations
from gti_cli.recommendation.requests import (
    RecommendationRequests,
    RecommendKeywords,
    RecommendOptions,
    read_requests,
)
from gti_cli.recommender import settings
from gti_cli.recommender.files import RecommenderFiles, read_workspace
from gti_cli.recommender.loaded_model import LoadedModel, Prompts
from gti_cli.recommender.recommender import Recommender
from gti_cli.recommender.search import FoundLists, search_lists
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import Workspace, processes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Unpack


def recommend(
    workspace: Path | str = Path("gti-workspace"),
    *,
    checkpoint: str | None = None,
    base: str | None = None,
    histories: Mapping[str, Sequence[str]] | None = None,
    queries: Mapping[str, str] | None = None,
    table: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    columns: str | None = None,
    parts: Path | str | None = None,
    **keywords: Unpack[RecommendKeywords],
) -> Recommendations:
    """Recommend the ``k`` most probable items to each user, or for each query; of candidates, where they are given.

    Exactly one of ``histories``, ``queries`` and ``table`` is given.

    Args:
        workspace: Folder of the workspace.
        checkpoint: Name or path of a checkpoint, also of an adapter of PEFT, or name of a blend. None: ``finetuned``.
        base: Base model of an adapter. None: the one that it names.
        histories: Item ids of each user, oldest first.
        queries: Words of each query.
        table: Table of interactions, or of queries where it has a column `query`.
        seed: Seed of everything random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        columns: What the columns of the tables are called, see `gti_cli.tables.locate`.
        parts: Folder for finished parts of a ``table``; the caller removes it when the lists are where they belong. An
            interrupted call goes on from what is there, and the processes of a launch by torchrun share the users out
            among themselves. None: this process answers all, in memory.
        **keywords: See `RecommendOptions` and `InteractionOptions`.

    Returns:
        The items by user or query, then by rank. A list is shorter than ``k`` where fewer items may be recommended.
        With ``parts``, on the first process alone: on other ranks nothing.

    Raises:
        InputError: When items are unknown, or there are none to show or to recommend.
        InputError: When an option is out of range, or the checkpoint does not fit the semantic IDs.
    """
    refuse_unknown(keywords, RecommendOptions, InteractionOptions)
    options, reading = pick(RecommendOptions, keywords), pick(InteractionOptions, keywords)
    options.check()
    reading.check(reads_table=table is not None)
    check_seed(seed)
    table, exclude, only, listed = tables.locate_all(
        [table, options.exclude, options.only, options.candidates], columns
    )
    space = Workspace(workspace)
    blend = blend_name(space, checkpoint)
    if blend is not None:
        check_blend_options(blend, options)
    files = read_workspace(space, checkpoint, base)
    if blend is None and files.blend is not None:  # of an exported folder
        blend = files.name
        check_blend_options(blend, options)
    row_of = files.catalogue.row_of()
    requests = read_requests(histories, queries, table, row_of, reading)
    read = {"input": table, "exclude": exclude, "only": only, "candidates": listed}
    machine = {"seed": seed, "device": device, "dtype": dtype}
    folder = _folder(parts, files, read, {**vars(options), **vars(reading), **machine})
    if blend is not None:
        seed_everything(seed)
        lists = recommend_by_blend(
            files, requests, options, exclude=exclude, only=only, device=device, dtype=dtype, folder=folder
        )
        if folder is not None and processes.rank() > 0:
            return Recommendations()
        _say_short(lists, options.k, requests)
        proven = [True] * len(lists)
        return as_recommendations(requests.names, lists, proven, files.catalogue.item_ids, files.titles)
    candidates = None
    if listed is not None:
        candidates = read_candidates(listed, requests, row_of, names_are_given=table is not None)
    assert files.checkpoint is not None
    untrained = say_if_untrained(space, files.checkpoint, "histories" if requests.histories is not None else "queries")
    allowed, hidden = allowed_mask(row_of, exclude, only), _hidden_rows(requests, options, row_of)
    if candidates is not None:
        candidates = leave_out(candidates, allowed, hidden, requests.unit)
    recommender = Recommender(files, device=device, dtype=dtype, seed=seed)
    if candidates is None:
        lists, proven = _search(recommender, requests, options, allowed, hidden, folder)
        _say_short(lists, options.k, requests)
    else:
        lists = _rank(recommender, requests, options, candidates, folder)
        proven = [True] * len(lists)  # Every candidate is scored, so nothing is missing.
    if folder is not None and processes.rank() > 0:
        return Recommendations()
    recommendations = as_recommendations(
        requests.names, lists, proven, files.catalogue.item_ids, files.titles, candidates
    )
    recommendations.never_trained_on = untrained.get("never_trained_on")
    return recommendations


def _folder(
    parts: Path | str | None,
    files: RecommenderFiles,
    read: Mapping[str, Path | str | None],
    options: Mapping[str, Any],
) -> Path | None:
    """Where the finished parts of this request lie; None where the users come from no table, or all stay in memory."""
    if parts is None or read["input"] is None:
        return None
    # Tables count by content, not by path.
    return parts_folder(parts, files, read, {name: value for name, value in options.items() if name not in read})


def _search(
    recommender: Recommender,
    requests: RecommendationRequests,
    options: RecommendOptions,
    allowed: npt.NDArray[np.bool_] | None,
    hidden: Sequence[set[int]],
    folder: Path | None,
) -> tuple[list[RankedItems], list[bool]]:
    """The top ``k`` of the allowed items for each request, and whether that is proven."""
    prompts = _prompts(recommender, requests, options)
    found = search_lists(
        recommender.model,
        prompts,
        options.settings(),
        hidden=hidden,
        allowed=AllowedItems.same_for_all(allowed, len(prompts.ids)) if allowed is not None else None,
        unit=requests.unit,
        folder=folder,
    )
    _say_what_may_be_missing(found, options, requests.unit)
    return found.lists, found.proven


def _rank(
    recommender: Recommender,
    requests: RecommendationRequests,
    options: RecommendOptions,
    candidates: Candidates,
    folder: Path | None,
) -> list[RankedItems]:
    """The candidates of each request, in the order of the language model."""
    prompts = _prompts(recommender, requests, options)
    model = recommender.model
    request = ScoreRequest(prompts.ids, candidates.lists, model.masses(prompts))
    return rank_candidates(
        model.searcher, request, k=options.k, batch_size=options.batch_size, unit=requests.unit, folder=folder
    )


def _say_short(lists: Sequence[RankedItems], k: int, requests: RecommendationRequests) -> None:
    """Say for how many requests fewer items are left than were asked for."""
    short = sum(len(items.rows) < k for items in lists)
    if short:
        console.warn(f"{short:,} of {len(lists):,} {requests.unit} have fewer than {k} items left to be recommended")


def _say_what_may_be_missing(found: FoundLists, options: RecommendOptions, unit: str) -> None:
    """Say for how many users or queries the lists are not proven to be the best, and what would prove them."""
    if options.search == "exact":
        console.note(f"the beam alone would have missed {found.missed:,} semantic IDs")
    unproven = found.proven.count(False)
    if not unproven:
        return
    stopped = f"--search auto ends after {settings.EXACT_PREFIXES:,} prefixes for each"
    console.warn(
        f"more probable items than those listed may be missing for {unproven:,} of {len(found.lists):,} {unit}, "
        f"since {stopped if found.is_exact else 'a beam drops prefixes'}: use --search exact"
        f"{'' if found.is_exact else ', or more --beams'}"
    )


def _hidden_rows(
    requests: RecommendationRequests, options: RecommendOptions, row_of: Mapping[str, int]
) -> list[set[int]]:
    """The catalogue rows that each list must not have, since the user has seen them."""
    if requests.histories is None or not options.filter_seen:
        return [set() for _ in requests.names]
    return [{row_of[item] for item in items} for items in requests.histories.values()]


def _prompts(recommender: Recommender, requests: RecommendationRequests, options: RecommendOptions) -> Prompts:
    """The prompt of each request; prints how many items or words are left out."""
    model: LoadedModel = recommender.model
    if requests.queries is not None:
        prompts = model.prompts_of_queries(list(requests.queries.values()))
        if prompts.queries_cut:
            console.note(f"{prompts.queries_cut:,} queries are longer than a prompt shows, and were cut")
        return prompts
    assert requests.histories is not None
    most = model.checkpoint.history_length(options.max_history, "--max-history", DEFAULT_HISTORY)
    histories = [[recommender.row_of[item] for item in items] for items in requests.histories.values()]
    prompts = model.prompts_of_histories(histories, most)
    if sum(prompts.cut):
        console.note(f"{sum(prompts.cut):,} items lie further back than the {most} that a prompt shows")
    return prompts
