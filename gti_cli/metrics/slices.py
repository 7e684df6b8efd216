"""Slices: the same metrics for parts of the users or queries.

Users are divided by how often the target was seen in training and by the length of the history, queries by their good
items and words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli.tables.arrays.targets import Targets
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.tables.histories import History
from gti_cli.tables.queries import Query

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Upper ends of the bins, inclusive; the last bin is open. A target with no training interaction is a cold start.
TARGET_SEEN = (0, 4, 19, 99)
HISTORY_LENGTH = (2, 5, 10, 20)
GOOD_ITEMS = (1, 3, 10)
QUERY_WORDS = (1, 2, 4)


# Lowest value, and the upper ends, of the bins of each slice.
_BINS: Mapping[str, tuple[int, Sequence[int]]] = {
    "target_training_interactions": (0, TARGET_SEEN),
    "history_length": (1, HISTORY_LENGTH),
    "good_items": (1, GOOD_ITEMS),
    "query_words": (1, QUERY_WORDS),
    "good_items_good_in_training": (0, (0, *GOOD_ITEMS)),
}

SLICES = tuple(_BINS)


def user_slices(entries: Sequence[History], train: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Mask]]:
    """Divide targets into bins.

    Args:
        entries: The U targets and their histories.
        train: Items of each user in the training part.

    Returns:
        A (U,) mask for each bin of the slices ``target_training_interactions`` (``0`` is cold start) and
        ``history_length`` (all items before the target). Bins without a target are left out.
    """
    targets = Targets.of(entries)
    return _divide({"target_training_interactions": times_seen(targets, train), "history_length": targets.lengths})


def times_seen(entries: Sequence[History], train: Mapping[str, Sequence[str]]) -> npt.NDArray[np.int32]:
    """(U,) number of training interactions of each target."""
    lists, targets = UserLists.of(train), Targets.of(entries)
    counts = np.bincount(lists.codes, minlength=len(lists.texts)).astype(np.int32)
    of_target = targets.lists.texts
    if of_target is not lists.texts:
        places = lists.texts.names.numbers_of(of_target.names)
        counts = np.where(places >= 0, counts[places], 0) if len(counts) else np.zeros(len(of_target), dtype=np.int32)
    return np.asarray(counts[targets.lists.codes[targets.places]], dtype=np.int32)


def query_slices(queries: Sequence[Query], train: Sequence[Query]) -> dict[str, dict[str, Mask]]:
    """Divide queries into bins.

    Args:
        queries: The Q queries that are evaluated.
        train: The training queries.

    Returns:
        A (Q,) mask for each bin of the slices ``good_items`` (of the query), ``query_words``, and
        ``good_items_good_in_training``: how many of the query's good items are good for a training query too (``0``:
        training showed none of them as a good item). Bins without a query are left out.
    """
    return _divide(
        {
            "good_items": np.asarray([len(query.items()) for query in queries]),
            "query_words": np.asarray([len(query.text.split()) for query in queries]),
            "good_items_good_in_training": good_in_training(queries, train),
        }
    )


def good_in_training(queries: Sequence[Query], train: Sequence[Query]) -> npt.NDArray[np.int32]:
    """(Q,) number of each query's good items that are good for a training query, too."""
    known = {item for query in train for item in query.items()}
    return np.asarray([sum(item in known for item in query.items()) for query in queries], dtype=np.int32)


def table_slices(table: pa.Table) -> dict[str, dict[str, Mask]]:
    """Divide the rows of ``per_user.parquet`` or ``per_query.parquet`` as `user_slices` and `query_slices` do.

    Tables that were written before they had a column for a slice lack that slice.
    """
    columns = {
        "target_training_interactions": "target_training_interactions",
        "history_length": "history",
        "good_items": "good",
        "good_items_good_in_training": "good_items_good_in_training",
    }
    values = {
        name: np.asarray(table.column(column).to_numpy())
        for name, column in columns.items()
        if column in table.column_names
    }
    if "query" in table.column_names:
        values["query_words"] = np.asarray([len(text.split()) for text in table.column("query").to_pylist()])
    return _divide(values)


def _divide(values: Mapping[str, npt.NDArray[Any]]) -> dict[str, dict[str, Mask]]:
    """The masks of the bins of each slice, from the value of each user or query."""
    return {name: _bins(column, *_BINS[name]) for name, column in values.items()}


def _bins(values: npt.NDArray[Any], lowest: int, ends: Sequence[int]) -> dict[str, Mask]:
    """Masks of the non-empty bins, by label: ``0``, ``1-4``, ``100+``."""
    starts = [lowest, *(end + 1 for end in ends)]
    masks = {}
    for start, end in zip(starts, [*ends, None], strict=True):
        inside = (values >= start) & (values <= end) if end is not None else values >= start
        if inside.any():
            masks[f"{start}+" if end is None else str(start) if end == start else f"{start}-{end}"] = inside
    return masks


def slice_means(
    values: Mapping[str, Floats], slices: Mapping[str, Mapping[str, Mask]], unit: str = "targets"
) -> dict[str, dict[str, dict[str, float]]]:
    """Average each metric over each bin.

    Args:
        values: (U,) values of each metric.
        slices: From `user_slices` or `query_slices`.
        unit: Name of the count of a bin.

    Returns:
        By slice and bin, the count and the mean of each metric.
    """
    return {
        name: {
            label: {unit: int(inside.sum()), **{metric: float(v[inside].mean()) for metric, v in values.items()}}
            for label, inside in bins.items()
        }
        for name, bins in slices.items()
    }
