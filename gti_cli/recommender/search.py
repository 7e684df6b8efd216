"""The best items for prompts, from a loaded model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.ranked_items import RankedItems, first_of_each
from gti_cli.decoding.search_parts import SearchRequest, beams_for, extra_beams, search_parts
from gti_cli.recommender import settings as limits
from gti_cli.recommender.loaded_model import LoadedModel, Prompts
from gti_cli.recommender.settings import ListSettings
from gti_cli.tables.arrays.row_lists import RowLists
from gti_cli.workspace import processes


@dataclass(frozen=True)
class FoundLists:
    """The lists of P prompts.

    Attributes:
        lists: Catalogue rows and scores, best first.
        proven: Whether the search proves that no more probable item is missing.
        is_exact: Whether it was an exact search.
        missed: Semantic IDs that the beam alone would have missed, where the search was exact.
    """

    lists: Sequence[RankedItems]
    proven: list[bool]
    is_exact: bool
    missed: int


def search_lists(
    model: LoadedModel,
    prompts: Prompts,
    settings: ListSettings,
    *,
    hidden: Sequence[Collection[int]],
    allowed: AllowedItems | None = None,
    unit: str = "users",
    folder: Path | None = None,
) -> FoundLists:
    """Find the best items for each prompt.

    Args:
        model: The model.
        prompts: From the same model.
        settings: Length of the lists, and how to search.
        hidden: For each prompt, catalogue rows that its list must not have although the search may follow them: items
            that the user has seen. There are few of them for each user, and other ones, so the beam is made wider.
        allowed: Which items each prompt's search may find. None: all.
        unit: What the progress bar counts.
        folder: Where finished parts are stored and shared, as for `gti_cli.decoding.search_parts.search_parts`.

    Returns:
        Lists of at most ``settings.k`` items. With a folder, on the first process alone: empty ones on other ranks.
    """
    searcher = model.searcher
    trie = searcher.trie.trie
    most = min(settings.k, len(trie.leaf_of_row))  # no list is longer than the catalogue, whatever somebody asks for
    hidden_rows = RowLists.of(hidden)
    request = SearchRequest(
        prompts.ids,
        [extra_beams(count) for count in hidden_rows.distinct().tolist()],
        list_length=most,
        beams=beams_for(settings.beams, most),
        exact=settings.is_exact(len(prompts.ids)),
        most_prefixes=limits.EXACT_PREFIXES if settings.search == "auto" else None,
        masses=model.masses(prompts),
        allowed=allowed,
    )
    answer = search_parts(
        searcher, request, batch_size=settings.batch_size, folder=folder, description="Recommending", unit=unit
    )
    if folder is not None and processes.rank() > 0:
        count = len(prompts.ids)
        return FoundLists([RankedItems([], [])] * count, [True] * count, request.exact, 0)
    lists = first_of_each(answer.ranking, trie, most, hidden_rows, allowed)
    missed = answer.exact_counts()["semantic_ids_the_beam_missed"]
    return FoundLists(lists, (~answer.unproven(request)).tolist(), request.exact, missed)
