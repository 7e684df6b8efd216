"""Lists of a blend for `gti recommend`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.decoding.shared_parts import PartArrays, share_parts
from gti_cli.errors import InputError
from gti_cli.recommendation.listing.allowed import allowed_mask
from gti_cli.recommendation.requests import RecommendationRequests, RecommendOptions
from gti_cli.recommender.blended_lists import LoadedBlend, refuse_model_settings
from gti_cli.recommender.files import RecommenderFiles

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
) -> list[RankedItems]:
    """Recommend items by a blend.

    Args:
        files: The blend and the catalogue.
        requests: For whom to recommend.
        options: Length of the lists, and what may be in them.
        exclude: Table of the items that are never recommended, located.
        only: Table of the only items that are recommended, located.
        device: ``auto``, or a device.
        dtype: ``auto``, or a number format.
        folder: Where finished parts are stored and shared, as for `gti_cli.decoding.search_parts.search_parts`. None:
            this process answers all at once.

    Raises:
        InputError: When the requests are queries, or the blend cannot be used.
    """
    assert files.blend is not None
    if requests.histories is None:
        raise InputError("a blend recommends to users, and cannot answer queries", remedy="name a checkpoint")
    row_of = files.catalogue.row_of()
    mask = allowed_mask(row_of, exclude, only)
    histories = [[row_of[item] for item in items] for items in requests.histories.values()]
    blend = LoadedBlend(files.blend, device, dtype, options.batch_size)

    def lists(users: Sequence[int]) -> list[RankedItems]:
        """The lists of some users, given by their numbers."""
        allowed = AllowedItems.same_for_all(mask, len(users)) if mask is not None else None
        asked = [histories[user] for user in users]
        return blend.lists(asked, options.k, filter_seen=[options.filter_seen] * len(users), allowed=allowed)

    if folder is None:
        return lists(range(len(histories)))
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
    found = [RankedItems([], [])] * len(histories)
    for number, arrays in results.items():
        for user, rows, scores in zip(parts[number], arrays["rows"], arrays["scores"], strict=True):
            found[user] = RankedItems(rows[rows >= 0].tolist(), scores[rows >= 0].tolist())
    return found


def _as_arrays(lists: Sequence[RankedItems], k: int) -> PartArrays:
    """Rows and scores of lists as arrays (lists, ``k``), filled up with -1."""
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
