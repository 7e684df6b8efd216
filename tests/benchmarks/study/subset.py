"""Make a copy of the data with fewer users to learn from: python subset.py DATA SHARE OUT

Writes OUT/items.parquet and OUT/interactions.parquet for run.sh. A SHARE of the users (0 to 1, drawn with seed 0) keeps
their training interactions. Those of the others become validation items, so that no model learns from them. Every
user's test item stays, with the whole history before it, so the same users are evaluated at every share.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gti_cli.tables.histories import read_interactions


def labels(lengths: dict[str, int], share: float) -> dict[str, list[str]]:
    """Return user -> ``train``, ``valid`` or ``test`` for each interaction in time order, given their numbers."""
    users = list(lengths)
    order = np.random.default_rng(0).permutation(len(users))
    trains = {users[place] for place in order[: round(share * len(users))]}
    found = {}
    for user, length in lengths.items():
        held = ["valid", "test"] if length >= 3 else []
        found[user] = ["train" if user in trains else "valid"] * (length - len(held)) + held
    return found


def main(data: Path, share: float, out: Path) -> None:
    """Write both tables, with rows by user and in time order."""
    items = pq.read_table(data / "items.parquet", columns=["item_id"])["item_id"].to_pylist()
    read = read_interactions(data / "interactions.parquet", {str(item) for item in items})
    of = labels({user: len(bought) for user, bought in read.items.items()}, share)
    rows = [
        (user, item, time, label)
        for user, bought in read.items.items()
        for time, (item, label) in enumerate(zip(bought, of[user], strict=True))
    ]
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(data / "items.parquet", out / "items.parquet")
    names = ("user_id", "item_id", "timestamp", "split")
    pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), out / "interactions.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
