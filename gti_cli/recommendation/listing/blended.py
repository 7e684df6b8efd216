"""Lists of a blend for `gti recommend`."""

from __future__ import annotations

from pathlib import Path

from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.errors import InputError
from gti_cli.recommendation.listing.allowed import allowed_mask
from gti_cli.recommendation.requests import RecommendationRequests, RecommendOptions
from gti_cli.recommender.blended_lists import LoadedBlend, refuse_model_settings
from gti_cli.recommender.files import RecommenderFiles


def recommend_by_blend(
    files: RecommenderFiles,
    requests: RecommendationRequests,
    options: RecommendOptions,
    *,
    exclude: Path | str | None,
    only: Path | str | None,
    device: str,
    dtype: str,
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

    Raises:
        InputError: When the requests are queries, or the blend cannot be used.
    """
    assert files.blend is not None
    if requests.histories is None:
        raise InputError("a blend recommends to users, and cannot answer queries", remedy="name a checkpoint")
    row_of = files.catalogue.row_of()
    mask = allowed_mask(row_of, exclude, only)
    allowed = AllowedItems.same_for_all(mask, len(requests.names)) if mask is not None else None
    histories = [[row_of[item] for item in items] for items in requests.histories.values()]
    blend = LoadedBlend(files.blend, device, dtype, options.batch_size)
    return blend.lists(histories, options.k, filter_seen=[options.filter_seen] * len(histories), allowed=allowed)


def check_blend_options(blend: str, options: RecommendOptions) -> None:
    """Refuse options that are about the search of one checkpoint.

    Raises:
        InputError: When one is given.
    """
    refuse_model_settings(blend, options.settings(), candidates=options.candidates is not None)
