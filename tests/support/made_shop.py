"""A made-up shop of any size: interactions with power-law items, and a catalogue with semantic IDs.

Items are as popular as in a real shop (a few make most of the sales), users are as different in length, and half of
the time a user goes on to an item near the one before, so that there is something to learn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.semantic_ids.artifact import write_ids
from gti_cli.workspace import Workspace

SIZES = (256, 256, 256)
SHORTEST = 3  # interactions of a user
_YEAR = 365 * 86_400


def made_rows(
    interactions: int, users: int, items: int, seed: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """User, item and time of each interaction, in the order of time, as a log has them."""
    rng = np.random.default_rng(seed)
    activity = np.cumsum(rng.lognormal(0, 0.8, users))
    more = np.searchsorted(activity, rng.random(interactions - SHORTEST * users) * activity[-1])
    lengths = SHORTEST + np.bincount(more, minlength=users)
    owners = np.repeat(np.arange(users), lengths)
    popularity = np.cumsum(1 / (np.arange(items) + 10.0) ** 0.9)
    chosen = np.searchsorted(popularity, rng.random(interactions) * popularity[-1])
    follows = rng.random(interactions) < 0.5
    follows[1:] &= owners[1:] == owners[:-1]
    follows[0] = False
    # A run of items that follow one another starts at the last item that was chosen freely.
    start = np.maximum.accumulate(np.where(follows, 0, np.arange(interactions)))
    steps = np.cumsum(np.where(follows, rng.integers(1, 8, interactions), 0))
    chosen = (chosen[start] + steps - steps[start]) % items
    times = rng.integers(0, _YEAR, interactions)
    times = times[np.lexsort((times, owners))]  # each user's items are in the order of time
    order = np.argsort(times, kind="stable")
    return owners[order], chosen[order], times[order]


def write_shop(path: Path, interactions: int, users: int, items: int, seed: int = 0) -> Path:
    """Write a table of interactions; see `made_rows`."""
    import pyarrow as pa

    owners, chosen, times = made_rows(interactions, users, items, seed)
    user_names = pa.array([f"user-{number:07d}" for number in range(users)])
    item_names = pa.array(item_ids(items))
    columns = {"user_id": user_names.take(pa.array(owners)), "item_id": item_names.take(pa.array(chosen))}
    tables.write(path, {**columns, "timestamp": times})
    return path


def item_ids(items: int) -> list[str]:
    """The ids of all items of a shop."""
    return [f"item-{number:07d}" for number in range(items)]


def write_catalogue(space: Workspace, items: int, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> None:
    """Write the artifact ``semantic_ids``: every item has other codes."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(int(np.prod(sizes)))[:items] if np.prod(sizes) < 1 << 25 else np.arange(items)
    codes = np.stack(np.unravel_index(numbers, sizes), axis=1).astype(np.int32)
    outputs = ["semantic_ids.parquet", "items.parquet"]
    with space.stage("build-ids", "semantic_ids", outputs, options={"items": items}, force=True) as run:
        names = item_ids(items)
        write_ids(run.path("semantic_ids.parquet"), names, codes)
        titles = [f"item number {number}" for number in range(items)]
        tables.write(run.path("items.parquet"), {"item_id": names, "text": titles, "title": titles})
        run.details.update(
            levels=len(sizes), sizes=list(sizes), token_style="lc-rec", identity=f"made-{items}-{seed}", batches=[]
        )
