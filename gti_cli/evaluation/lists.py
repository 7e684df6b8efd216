"""What is recommended, as arrays and as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.decoding.search import RankedItems


def as_table(lists: Sequence[RankedItems], k: int) -> npt.NDArray[np.int64]:
    """(U, k) catalogue rows; -1: nothing more."""
    table = np.full((len(lists), k), -1, dtype=np.int64)
    for user, found in enumerate(lists):
        table[user, : len(found.rows)] = found.rows
    return table


def write_lists(
    folder: Path, column: str, owners: Sequence[str], lists: Sequence[RankedItems], item_ids: Sequence[str]
) -> None:
    """``recommendations.parquet``: ``column`` (whose list), rank, item_id, score."""
    lengths = [len(found.rows) for found in lists]
    tables.write(
        folder / "recommendations.parquet",
        {
            column: [owner for owner, length in zip(owners, lengths, strict=True) for _ in range(length)],
            "rank": np.concatenate([np.arange(1, length + 1, dtype=np.int32) for length in lengths]),
            "item_id": [item_ids[row] for found in lists for row in found.rows],
            "score": np.asarray([score for found in lists for score in found.scores], dtype=np.float32),
        },
    )
