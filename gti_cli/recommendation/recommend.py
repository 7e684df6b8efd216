"""`gti recommend`: items for a history, for a query, or for each row of a table. It writes nothing to the workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

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
from gti_cli.recommendation.listing.list_remarks import ListRemarks
from gti_cli.recommendation.listing.recommendations import Recommendations, as_recommendations
from gti_cli.recommendation.requests import (
    RecommendationRequests,
    RecommendKeywords,
    RecommendOptions,
    read_requests,
)
from gti_cli.recommender.files import read_workspace
from gti_cli.recommender.loaded_model import LoadedModel, Prompts
from gti_cli.recommender.recommender import Recommender
from gti_cli.recommender.search import search_lists
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import Workspace

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
        **keywords: See `RecommendOptions` and `InteractionOptions`.

    Returns:
        The items by user or query, then by rank. A list is shorter than ``k`` where fewer items may be recommended.

    Raises:
        InputError: When items are unknown, or there are none to show or to recommend.
        InputError: When an option is out of range, or the checkpoint does not fit the semantic IDs.
    """
    pieces = recommend_in_pieces(
        workspace,
        checkpoint=checkpoint,
        base=base,
        histories=histories,
        queries=queries,
        table=table,
        seed=seed,
        device=device,
        dtype=dtype,
        columns=columns,
        **keywords,
    )
    whole = next(pieces)
    for piece in pieces:
        whole += piece
    return whole


def recommend_in_pieces(
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
    **keywords: Unpack[RecommendKeywords],
) -> Iterator[Recommendations]:
    """Recommend as `recommend` does, some thousand users at a time: the lists of all of them need not be in memory.

    A blend, and candidates, are answered in one piece.

    Args:
        workspace: As for `recommend`; so are the others.
        checkpoint: See there.
        base: See there.
        histories: See there.
        queries: See there.
        table: See there.
        seed: See there.
        device: See there.
        dtype: See there.
        columns: See there.
        **keywords: See there.

    Yields:
        The items of the next users or queries; at least once.

    Raises:
        InputError: As `recommend`, before anything is yielded.
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
    if blend is not None:
        seed_everything(seed)
        lists = recommend_by_blend(files, requests, options, exclude=exclude, only=only, device=device, dtype=dtype)
        _say_short(lists, options.k, requests)
        proven = [True] * len(lists)
        yield as_recommendations(requests.names, lists, proven, files.catalogue.item_ids, files.titles)
        return
    candidates = None
    if listed is not None:
        candidates = read_candidates(listed, requests, row_of, names_are_given=table is not None)
    assert files.checkpoint is not None
    untrained = say_if_untrained(space, files.checkpoint, "histories" if requests.histories is not None else "queries")
    allowed = allowed_mask(row_of, exclude, only)
    if candidates is not None:
        candidates = leave_out(candidates, allowed, _hidden_rows(requests, options, row_of), requests.unit)
    recommender = Recommender(files, device=device, dtype=dtype, seed=seed)
    said = ListRemarks(options, requests)
    for piece in requests.pieces() if candidates is None else [requests]:
        prompts = _prompts(recommender, piece, options)
        said.prompts(prompts)
        if candidates is None:
            lists, proven = _search(recommender, piece, prompts, options, allowed, len(requests), said)
        else:
            lists = _rank(recommender, requests, prompts, options, candidates)
            proven = [True] * len(lists)  # Every candidate is scored, so nothing is missing.
        recommendations = as_recommendations(
            piece.names, lists, proven, files.catalogue.item_ids, files.titles, candidates
        )
        recommendations.never_trained_on = untrained.get("never_trained_on")
        yield recommendations
    said.say(_history_length(recommender, options) if requests.histories is not None else 0)


def _search(
    recommender: Recommender,
    piece: RecommendationRequests,
    prompts: Prompts,
    options: RecommendOptions,
    allowed: npt.NDArray[np.bool_] | None,
    total: int,
    said: ListRemarks,
) -> tuple[list[RankedItems], list[bool]]:
    """The top ``k`` of the allowed items for each request of a piece, and whether that is proven.

    Args:
        recommender: The model.
        piece: Some of the requests.
        prompts: Their prompts.
        options: How the lists are made.
        allowed: (N,) which items may be recommended. None: all.
        total: Number of all requests: it decides whether the search is exact.
        said: Gets what there is to say about the lists.
    """
    given = options.settings()
    found = search_lists(
        recommender.model,
        prompts,
        given if given.is_exact(total) else replace(given, search="beam"),
        hidden=_hidden_rows(piece, options, recommender.row_of),
        allowed=AllowedItems.same_for_all(allowed, len(prompts.ids)) if allowed is not None else None,
        unit=piece.unit,
    )
    said.lists(found)
    return found.lists, found.proven


def _rank(
    recommender: Recommender,
    requests: RecommendationRequests,
    prompts: Prompts,
    options: RecommendOptions,
    candidates: Candidates,
) -> list[RankedItems]:
    """The candidates of each request, in the order of the language model."""
    model = recommender.model
    request = ScoreRequest(prompts.ids, candidates.lists, model.masses(prompts))
    return rank_candidates(model.searcher, request, k=options.k, batch_size=options.batch_size, unit=requests.unit)


def _say_short(lists: Sequence[RankedItems], k: int, requests: RecommendationRequests) -> None:
    """Say for how many requests fewer items are left than were asked for."""
    short = sum(len(items.rows) < k for items in lists)
    if short:
        console.warn(f"{short:,} of {len(lists):,} {requests.unit} have fewer than {k} items left to be recommended")


def _hidden_rows(
    requests: RecommendationRequests, options: RecommendOptions, row_of: Mapping[str, int]
) -> list[set[int]]:
    """The catalogue rows that each list must not have, since the user has seen them."""
    if requests.histories is None or not options.filter_seen:
        return [set() for _ in requests.names]
    return [{row_of[item] for item in items} for items in requests.histories.values()]


def _prompts(recommender: Recommender, requests: RecommendationRequests, options: RecommendOptions) -> Prompts:
    """The prompt of each request."""
    model: LoadedModel = recommender.model
    if requests.queries is not None:
        return model.prompts_of_queries(list(requests.queries.values()))
    assert requests.histories is not None
    histories = [[recommender.row_of[item] for item in items] for items in requests.histories.values()]
    return model.prompts_of_histories(histories, _history_length(recommender, options))


def _history_length(recommender: Recommender, options: RecommendOptions) -> int:
    """Most items of a history that a prompt shows."""
    return recommender.model.checkpoint.history_length(options.max_history, "--max-history", DEFAULT_HISTORY)
