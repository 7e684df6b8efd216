"""How `item-knn` is tuned: NDCG on held-out items, never on what is reported.

One value at a time is changed, in the order of `GRID`, and kept if it is better; passes over the grid go on until one
changes nothing, or `PASSES` are done. What was tried is remembered, so nothing is measured twice. Of many held-out
items `TARGETS` are measured, evenly spread over the users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli import console
from gti_cli.evaluation.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.evaluation.metrics.ranking import Ranks, ndcg_at
from gti_cli.tables.histories import History

CUT_OFF = 10
PASSES = 2
TARGETS = 4000
GRID: dict[str, tuple[float, ...]] = {
    "window": (1, 2, 3, 5, 8, 12, 20),
    "falloff": (0.0, 0.5, 1.0, 2.0),
    "backwards": (0.0, 0.25, 0.5, 0.75, 1.0),
    "last": (1, 2, 3, 5, 8, 12, 20),
    "decay": (0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "normalisation": (0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0),
    "shrinkage": (0.0, 1.0, 3.0, 10.0, 30.0),
}


@dataclass(frozen=True)
class Tuned:
    """The outcome.

    Attributes:
        how: the best. ndcg: its NDCG@10 on the held-out items, and untuned: that of the defaults.
        tried: settings measured. targets: held-out items that they were measured on, of held_out.
    """

    how: Neighbourhood
    ndcg: float
    untuned: float
    tried: int
    targets: int
    held_out: int

    def report(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "chosen": asdict(self.how),
            f"ndcg@{CUT_OFF}": self.ndcg,
            f"ndcg@{CUT_OFF}_untuned": self.untuned,
            "settings_tried": self.tried,
            "held_out_targets": self.held_out,
            "held_out_targets_used": self.targets,
        }


def tune(
    train: Mapping[str, list[str]], held_out: Sequence[History], row_of: Mapping[str, int], *, filter_seen: bool
) -> Tuned:
    """Find a good `Neighbourhood` for predicting ``held_out``, which is no part of ``train``.

    Args:
        train: user -> items. held_out: at least one. row_of: item id -> catalogue row. filter_seen: as in the
            evaluation that the outcome is for.
    """
    used = [held_out[n * len(held_out) // TARGETS] for n in range(TARGETS)] if len(held_out) > TARGETS else held_out
    histories = [[row_of[item] for item in entry.items] for entry in used]
    targets = np.asarray([row_of[entry.target] for entry in used])
    known: dict[Neighbourhood, float] = {}
    # The start, and at most every other candidate of every value in each pass.
    most = 1 + sum(len(values) - 1 for values in GRID.values()) * PASSES
    with console.progress("Tuning item-knn", most, "settings") as advance:

        def measured(how: Neighbourhood) -> float:
            """NDCG on the held-out items, each setting once."""
            if how not in known:
                advance()
                found = ItemKNN(train, row_of, how).similar(histories)
                known[how] = float(ndcg_at(sparse_ranks(found, histories, targets, filter_seen), CUT_OFF).mean())
            return known[how]

        best = start = Neighbourhood()
        for _ in range(PASSES):
            before = best
            for name, values in GRID.items():
                # Of equal values the one at hand stays, so that the outcome does not hang on the order of the grid.
                best = max([best, *(_changed(best, name, value) for value in values)], key=measured)
            if best == before:
                break
        measured(start)
    return Tuned(best, known[best], known[start], len(known), len(used), len(held_out))


def _changed(how: Neighbourhood, name: str, value: float) -> Neighbourhood:
    changes: dict[str, Any] = {name: value}
    return replace(how, **changes)


def without_last(train: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], list[History]]:
    """Hold out the last training item of every user who has another one before it: what is left, and these targets."""
    kept = {user: items[:-1] if len(items) > 1 else items for user, items in train.items()}
    return kept, [History(user, items[:-1], items[-1]) for user, items in train.items() if len(items) > 1]


def sparse_ranks(
    scores: sparse.csr_matrix,
    histories: Sequence[Sequence[int]],
    targets: npt.NDArray[np.int64],
    filter_seen: bool,
) -> Ranks:
    """Where each target stands among the positive entries of its row; equal scores are one tie."""
    if filter_seen:
        lengths = [len(history) for history in histories]
        cells = (np.repeat(np.arange(len(lengths)), lengths), np.concatenate(histories).astype(np.int64))
        seen = sparse.csr_matrix((np.ones(len(cells[0])), cells), shape=scores.shape)
        scores = (scores - scores.multiply(seen > 0)).tocsr()
    values = scores.data
    owners = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    own = np.zeros(scores.shape[0])
    hit = scores.indices == targets[owners]
    own[owners[hit]] = values[hit]
    size = scores.shape[0]
    ahead = np.bincount(owners[values > own[owners]], minlength=size)
    ties = np.bincount(owners[(values == own[owners]) & (values > 0)], minlength=size)
    return Ranks(np.where(own > 0, ahead, -1), np.maximum(ties, 1))
