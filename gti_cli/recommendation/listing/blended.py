"""Lists of a blend for `gti recommend`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.ranked_items import ItemLists, RankedItems
from gti_cli.decoding.shared_parts import PartArrays, share_parts
from gti_cli.errors import InputError
from gti_cli.recommendation.listing.allowed import allowed_mask
from gti_cli.recommendation.listing.recommendations import ListedItems
from gti_cli.recommendation.requests import RecommendationRequests, RecommendOptions
from gti_cli.recommender.blended_lists import LoadedBlend, refuse_model_settings
from gti_cli.recommender.files import RecommenderFiles
from gti_cli.tables.arrays.item_texts import texts_in_order
from gti_cli.tables.arrays.row_lists import RowLists
from gti_cli.workspace import processes

_PART = 512  # users whose lists are stored together


def recommend_by_blend(
    files: RecommenderFiles,
    requests: RecommendationRequests,
    options: RecommendOptions,
    *,
    exclude: Path | str | None,
    only: Path | str | None,
    device: str,
    dtype: str,
    folder: Path | None = None,
) -> Iterator[ListedItems]:
    """Recommend items by a blend, some thousand users at a time.

    Args:
        files: The blend and the catalogue.
        requests: For whom to recommend.
        options: Length of the lists, and what may be in them.
        exclude: Table of the items that are never recommended, located.
        only: Table of the only items that are recommended, located.
        device: ``auto``, or a device.
        dtype: ``auto``, or a number format.
        folder: Where finished parts are stored and shared, as for `gti_cli.decoding.search_parts.search_parts`. None:
            this process answers all.

    Yields:
        The items of the next users. With a folder, on the first process alone: no items on other ranks.

    Raises:
        InputError: When the requests are queries, or the blend cannot be used.
    """
    assert files.blend is not None
    if requests.histories is None:
        raise InputError("a blend recommends to users, and cannot answer queries", remedy="name a checkpoint")
    row_of = files.catalogue.row_of()
    mask = allowed_mask(row_of, exclude, only)
    blend = LoadedBlend(files.blend, device, dtype, options.batch_size)
    names, titles = files.catalogue.names, texts_in_order(files.titles, files.catalogue.names)
    short = 0
    for number, piece in enumerate(requests.pieces()):
        histories = piece.rows(row_of)
        of_piece = folder / f"piece-{number:06d}" if folder is not None else None
        lists = _lists_of_piece(blend, histories, options, mask, of_piece)
        if folder is not None and processes.rank() > 0:
            lists = ItemLists.of([RankedItems([], [])] * len(histories))
        short += int((lists.lengths < options.k).sum())
        yield ListedItems(piece.names, lists, np.ones(len(histories), dtype=bool), names, titles)
    if short and (folder is None or processes.rank() == 0):
        console.warn(f"{short:,} of {len(requests):,} users have fewer than {options.k} items left to be recommended")


def _lists_of_piece(
    blend: LoadedBlend,
    histories: RowLists,
    options: RecommendOptions,
    mask: npt.NDArray[np.bool_] | None,
    folder: Path | None,
) -> ItemLists:
    """The lists of some thousand users; see `recommend_by_blend`."""

    def lists(users: Sequence[int]) -> list[RankedItems]:
        """The lists of some users, given by their numbers."""
        allowed = AllowedItems.same_for_all(mask, len(users)) if mask is not None else None
        asked = [histories[user] for user in users]
        return blend.lists(asked, options.k, filter_seen=[options.filter_seen] * len(users), allowed=allowed)

    if folder is None:
        return ItemLists.of(lists(range(len(histories))))
    parts = [range(start, min(start + _PART, len(histories))) for start in range(0, len(histories), _PART)]
    results, _ = share_parts(
        parts,
        lambda users: _as_arrays(lists(users), options.k),
        names=("rows", "scores"),
        lengths=[len(part) for part in parts],
        folder=folder,
        description="Recommending",
        unit="users",
    )
    return ItemLists.joined([ItemLists.of_table(**results[number]) for number in sorted(results)])


def _as_arrays(lists: Sequence[RankedItems], k: int) -> PartArrays:
    """Rows and scores of lists as arrays (lists, at most ``k``), filled up with -1."""
    k = min(k, max((len(items.rows) for items in lists), default=0))  # a catalogue may have fewer items
    rows, scores = np.full((len(lists), k), -1, dtype=np.int64), np.full((len(lists), k), -1, dtype=np.float64)
    for place, items in enumerate(lists):
        rows[place, : len(items.rows)], scores[place, : len(items.rows)] = items.rows, items.scores
    return {"rows": rows, "scores": scores}


def check_blend_options(blend: str, options: RecommendOptions) -> None:
    """Refuse options that are about the search of one checkpoint.

    Raises:
        InputError: When one is given.
    """
    refuse_model_settings(blend, options.settings(), candidates=options.candidates is not None)
