"""Lists of a blend for `gti recommend`: the best of the union of its members' lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gti_cli.blends.candidate_table import best_of_each
from gti_cli.blends.stored_blend import BlendSource
from gti_cli.checkpoints.devices import choose_device, choose_dtype
from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.errors import InputError
from gti_cli.recommendation.requests import RecommendationRequests, RecommendOptions


def refuse_model_options(blend: str, options: RecommendOptions) -> None:
    """Refuse options that are about the search of one checkpoint.

    Args:
        blend: Name of the blend.
        options: As given.

    Raises:
        InputError: When one was given.
    """
    given = {
        "--search": options.search != "auto",
        "--beams": options.beams is not None,
        "--max-history": options.max_history is not None,
        "--candidates": options.candidates is not None,
    }
    flags = [flag for flag, is_given in given.items() if is_given]
    if flags:
        raise InputError(
            f"{flags[0]} is for a checkpoint, and {blend!r} is a blend", remedy="leave it out, or name a checkpoint"
        )


def recommend_by_blend(
    source: BlendSource,
    requests: RecommendationRequests,
    allowed_rows: npt.NDArray[np.int64],
    options: RecommendOptions,
    device: str,
    dtype: str,
) -> list[RankedItems]:
    """Recommend items by a blend.

    Args:
        source: The blend.
        requests: Histories.
        allowed_rows: Rows of the catalogue that may be recommended.
        options: Length of the lists, and whether seen items are left out.
        device: ``auto``, or a device.
        dtype: ``auto``, or a number format.

    Returns:
        A list for each history; its scores are those of the blend, of which only the order has a meaning.

    Raises:
        InputError: When the requests are queries.
    """
    if requests.histories is None:
        raise InputError("a blend recommends to users, and cannot answer queries", remedy="name a checkpoint")
    row_of = source.catalogue.row_of()
    chosen = choose_device(device)
    opened = source.open(chosen, choose_dtype(dtype, chosen), options.batch_size)
    is_allowed = None
    if len(allowed_rows) < len(row_of):
        is_allowed = np.zeros(len(row_of), dtype=bool)
        is_allowed[allowed_rows] = True
    histories = _rows_of(requests.histories, row_of)
    said = opened.ask(histories, filter_seen=options.filter_seen, k=options.k, allowed=is_allowed)
    rows, scores = best_of_each(opened.stored.blend.scores(said), said.candidates, options.k)
    return [
        RankedItems(of_user[of_user >= 0].tolist(), values[of_user >= 0].tolist())
        for of_user, values in zip(rows, scores, strict=True)
    ]


def _rows_of(histories: Mapping[str, Sequence[str]], row_of: Mapping[str, int]) -> list[list[int]]:
    return [[row_of[item] for item in items] for items in histories.values()]
