"""Training data for the tests of the baselines."""

from __future__ import annotations

from typing import Any

import numpy as np

from gti_cli.baselines.sasrec import Size
from gti_cli.baselines.sasrec_training import Budget
from gti_cli.baselines.sasrec_tuning import SASRecInputs, SizeSearch
from gti_cli.tables.histories import History

ITEMS = 15
ROW_OF = {f"i{n}": n for n in range(ITEMS)}

SASREC_ITEMS = 12
SASREC_ROW_OF = {f"i{n}": n for n in range(SASREC_ITEMS)}
SMALL = Size(hidden=16, dropout=0.1, length=6)
NO_SEARCH = SizeSearch(SMALL, {"length": (6,)}, 1)
# Attributes of `gti_cli.baselines.sasrec_tuning` with which it trains one small network, for two epochs.
QUICK: dict[str, Any] = {"SEARCH": NO_SEARCH, "Budget": lambda: Budget(epochs=2)}


def random_train() -> dict[str, list[str]]:
    """Items of 30 users. The last three items of the catalogue never occur; items repeat within a user."""
    rng = np.random.default_rng(3)
    return {f"u{n}": [f"i{row}" for row in rng.integers(0, ITEMS - 3, 1 + n % 9)] for n in range(30)}


def item_vectors() -> np.ndarray:
    """(ITEMS, 4) float32 embeddings."""
    return (1 + np.random.default_rng(8).normal(size=(ITEMS, 4))).astype(np.float32)


def ordered_sequences(users: int) -> tuple[dict[str, list[str]], list[History]]:
    """Sequences whose next item follows from the last two in their order; all items are equally popular."""
    rng = np.random.default_rng(6)
    train, held_out = {}, []
    for user in range(users):
        rows = rng.integers(0, SASREC_ITEMS, 2).tolist()
        while len(rows) < 8:
            rows.append((2 * rows[-1] - rows[-2] + 1) % SASREC_ITEMS)
        items = [f"i{row}" for row in rows]
        train[f"u{user}"] = items[:-1]
        held_out.append(History(f"u{user}", items[:-1], items[-1]))
    return train, held_out


def sasrec_inputs(users: int, seed: int = 0) -> SASRecInputs:
    """Inputs in which nothing is held out of the training."""
    train, held_out = ordered_sequences(users)
    return SASRecInputs(train, train, held_out, SASREC_ROW_OF, filter_seen=False, seed=seed)
