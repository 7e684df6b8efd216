"""Lists of a blend for `gti recommend`: the best of the union of its members' lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gti_cli import console
from gti_cli.blends.candidate_table import best_of_each
from gti_cli.blends.stored_blend import find_blend
from gti_cli.checkpoints.devices import choose_device, choose_dtype
from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.errors import InputError
from gti_cli.recommendation.listing.allowed import allowed_rows
from gti_cli.recommendation.requests import RecommendOptions, read_requests
from gti_cli.tables import SemanticIDs
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import Workspace

Requested = tuple[Mapping[str, Sequence[str]] | None, Mapping[str, str] | None, Path | str | None]


@dataclass(frozen=True)
class BlendedLists:
    """What a blend recommends.

    Attributes:
        names: Ids of U users.
        lists: U lists. Of the scores only the order has a meaning.
        catalogue: The catalogue whose rows are in the lists.
        candidates: None: a blend finds its candidates itself.
    """

    names: list[str]
    lists: list[RankedItems]
    catalogue: SemanticIDs
    candidates: None = None


def recommend_by_blend(
    space: Workspace,
    blend: str,
    requested: Requested,
    reading: InteractionOptions,
    options: RecommendOptions,
    *,
    device: str,
    dtype: str,
) -> BlendedLists:
    """Recommend items by a blend.

    Args:
        space: The workspace.
        blend: Name of the blend.
        requested: Histories, queries and table, of which one is given; see `read_requests`.
        reading: How a table of interactions is read.
        options: Length of the lists, and what may be in them; its tables are located.
        device: ``auto``, or a device.
        dtype: ``auto``, or a number format.

    Raises:
        InputError: When the requests are queries or cannot be read, an option is about a checkpoint, or the blend
            cannot be used.
    """
    _refuse_model_options(blend, options)
    source = find_blend(space, blend)
    row_of = source.catalogue.row_of()
    requests = read_requests(*requested, row_of, reading)
    if requests.histories is None:
        raise InputError("a blend recommends to users, and cannot answer queries", remedy="name a checkpoint")
    rows = allowed_rows(row_of, options.exclude, options.only)
    is_allowed = None
    if len(rows) < len(row_of):
        is_allowed = np.zeros(len(row_of), dtype=bool)
        is_allowed[rows] = True
    chosen = choose_device(device)
    opened = source.open(chosen, choose_dtype(dtype, chosen), options.batch_size)
    histories = [[row_of[item] for item in items] for items in requests.histories.values()]
    said = opened.ask(histories, filter_seen=options.filter_seen, k=options.k, allowed=is_allowed)
    best, scores = best_of_each(opened.stored.blend.scores(said), said.candidates, options.k)
    lists = [
        RankedItems(of_user[of_user >= 0].tolist(), values[of_user >= 0].tolist())
        for of_user, values in zip(best, scores, strict=True)
    ]
    short = sum(len(items.rows) < options.k for items in lists)
    if short:
        console.warn(f"{short:,} of {len(lists):,} users have fewer than {options.k} items left to be recommended")
    return BlendedLists(requests.names, lists, source.catalogue)


def _refuse_model_options(blend: str, options: RecommendOptions) -> None:
    """Refuse options that are about the search of one checkpoint."""
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
