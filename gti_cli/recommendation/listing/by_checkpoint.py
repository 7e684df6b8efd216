"""Lists of a checkpoint for many users or queries, some thousand at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.cards.trained_tasks import say_if_untrained
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.ranked_items import ItemLists, RankedItems
from gti_cli.decoding.search_parts import ScoreRequest
from gti_cli.prompts.next_item import DEFAULT_HISTORY
from gti_cli.recommendation.listing.candidates import Candidates, leave_out, rank_candidates, say_longer
from gti_cli.recommendation.listing.recommendations import ListedItems
from gti_cli.recommendation.listing.remarks import Remarks
from gti_cli.recommendation.requests import (
    RecommendationRequests,
    RecommendOptions,
)
from gti_cli.recommender.files import RecommenderFiles
from gti_cli.recommender.loaded_model import LoadedModel, Prompts
from gti_cli.recommender.recommender import Recommender
from gti_cli.recommender.search import search_lists
from gti_cli.tables.arrays.item_texts import texts_in_order
from gti_cli.tables.arrays.row_lists import RowLists
from gti_cli.workspace import Workspace, processes


def lists_by_checkpoint(
    space: Workspace,
    files: RecommenderFiles,
    requests: RecommendationRequests,
    options: RecommendOptions,
    candidates: Candidates | None,
    allowed: npt.NDArray[np.bool_] | None,
    machine: Mapping[str, Any],
    folder: Path | None,
) -> Iterator[ListedItems]:
    """The lists of a checkpoint: by a search, or of candidates where there are any.

    Args:
        space: The workspace.
        files: The checkpoint and the catalogue.
        requests: For whom to recommend.
        options: Length of the lists, and how to search.
        candidates: The items to choose from. None: all of the catalogue.
        allowed: (N,) which items may be recommended. None: all.
        machine: ``device``, ``dtype`` and ``seed``.
        folder: Where finished parts are stored and shared. None: in memory.

    Yields:
        The items of the next users or queries.
    """
    assert files.checkpoint is not None
    untrained = say_if_untrained(space, files.checkpoint, "histories" if requests.histories is not None else "queries")
    row_of = files.catalogue.row_of()
    if candidates is not None:
        candidates = leave_out(candidates, allowed, _hidden_rows(requests, options, row_of), requests.unit)
    recommender = Recommender(files, **machine)
    said = Remarks(options, requests)
    shown = _history_length(recommender, options) if requests.histories is not None else 0
    names, titles = files.catalogue.names, texts_in_order(files.titles, files.catalogue.names)
    start = 0
    for number, piece in enumerate(requests.pieces()):
        prompts = _prompts(recommender, piece, shown)
        said.prompts(prompts)
        of_piece = folder / f"piece-{number:06d}" if folder is not None else None
        if candidates is None:
            lists, proven = _search(recommender, piece, prompts, options, allowed, len(requests), said, of_piece)
            listed = ListedItems(piece.names, ItemLists.of(lists), np.asarray(proven, dtype=bool), names, titles)
        else:
            part = candidates.part(start, start + len(piece))
            ranked, places = _rank(recommender, piece, prompts, options, part, of_piece)
            is_proven = np.ones(len(piece), dtype=bool)  # Every candidate is scored, so nothing is missing.
            scores = part.retriever_scores[places] if part.retriever_scores is not None else None
            listed = ListedItems(piece.names, ranked, is_proven, names, titles, scores)
        listed.never_trained_on = untrained.get("never_trained_on")
        start += len(piece)
        yield listed
    if folder is None or processes.rank() == 0:
        if candidates is not None:
            say_longer(candidates.lists, options.k, requests.unit)
        said.say(shown)


def _search(
    recommender: Recommender,
    piece: RecommendationRequests,
    prompts: Prompts,
    options: RecommendOptions,
    allowed: npt.NDArray[np.bool_] | None,
    total: int,
    said: Remarks,
    folder: Path | None,
) -> tuple[Sequence[RankedItems], list[bool]]:
    """The top ``k`` of the allowed items for each request of a piece, and whether that is proven.

    Args:
        recommender: The model.
        piece: Some of the requests.
        prompts: Their prompts.
        options: How the lists are made.
        allowed: (N,) which items may be recommended. None: all.
        total: Number of all requests: it decides whether the search is exact.
        said: Gets what there is to say about the lists.
        folder: Where finished parts are stored and shared. None: in memory.
    """
    given, hidden = options.settings(), _hidden_rows(piece, options, recommender.row_of)
    found = search_lists(
        recommender.model,
        prompts,
        given if given.is_exact(total) else replace(given, search="beam"),
        hidden=hidden if hidden is not None else [()] * len(piece),
        allowed=AllowedItems.same_for_all(allowed, len(prompts.ids)) if allowed is not None else None,
        unit=piece.unit,
        folder=folder,
    )
    said.lists(found)
    return found.lists, found.proven


def _rank(
    recommender: Recommender,
    requests: RecommendationRequests,
    prompts: Prompts,
    options: RecommendOptions,
    candidates: Candidates,
    folder: Path | None,
) -> tuple[ItemLists, npt.NDArray[np.int64]]:
    """The candidates of each request in the order of the language model, and their places among all candidates."""
    model = recommender.model
    request = ScoreRequest(prompts.ids, candidates.lists, model.masses(prompts))
    return rank_candidates(
        model.searcher, request, k=options.k, batch_size=options.batch_size, unit=requests.unit, folder=folder
    )


def _hidden_rows(
    requests: RecommendationRequests, options: RecommendOptions, row_of: Mapping[str, int]
) -> RowLists | None:
    """The catalogue rows that each list must not have, since the user has seen them; None where lists may have all."""
    return requests.rows(row_of) if requests.histories is not None and options.filter_seen else None


def _prompts(recommender: Recommender, requests: RecommendationRequests, shown: int) -> Prompts:
    """The prompt of each request; ``shown`` is the most items of a history that it shows."""
    model: LoadedModel = recommender.model
    if requests.queries is not None:
        return model.prompts_of_queries(requests.query_texts())
    return model.prompts_of_histories(requests.rows(recommender.row_of), shown)


def _history_length(recommender: Recommender, options: RecommendOptions) -> int:
    """Most items of a history that a prompt shows."""
    return recommender.model.checkpoint.history_length(options.max_history, "--max-history", DEFAULT_HISTORY)
