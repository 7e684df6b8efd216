"""The history examples of all users as arrays: where each begins and ends among the users' items.

Examples of a user overlap, and an example is a tuple of Python objects. As places in the one array of all items they
take 25 bytes each, and all users are cut at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from gti_cli.training.batches.history_examples import HistoryExample

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HistoryExamples(Sequence[HistoryExample]):
    """E history examples.

    Attributes:
        rows: (M,) rows of the catalogue, one user behind the other, in time order.
        starts: (E,) int64. Place of each example's first item in ``rows``.
        stops: (E,) int64. Place behind its last item.
        first_targets: (E,) int32. See `HistoryExample`.
        wordings: (E,) int8. See `HistoryExample`.
        users: (E,) int32. See `HistoryExample`.
    """

    rows: npt.NDArray[np.int32]
    starts: Ints
    stops: Ints
    first_targets: npt.NDArray[np.int32]
    wordings: npt.NDArray[np.int8]
    users: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> HistoryExample: ...

    @overload
    def __getitem__(self, index: slice) -> HistoryExamples: ...

    def __getitem__(self, index: int | slice) -> HistoryExample | HistoryExamples:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        items = tuple(self.rows[self.starts[index] : self.stops[index]].tolist())
        return HistoryExample(items, *(int(of[index]) for of in (self.first_targets, self.wordings, self.users)))

    def __iter__(self) -> Iterator[HistoryExample]:
        return (self[number] for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def take(self, numbers: npt.NDArray[Any]) -> HistoryExamples:
        """Some of the examples, by their numbers or by a mask."""
        own = (self.starts, self.stops, self.first_targets, self.wordings, self.users)
        return HistoryExamples(self.rows, *(of[numbers] for of in own))

    @property
    def lengths(self) -> Ints:
        """(E,) number of items of each example."""
        return self.stops - self.starts

    @property
    def target_counts(self) -> Ints:
        """(E,) number of targets of each example."""
        return self.lengths - self.first_targets

    def single_targets(self) -> HistoryExamples:
        """The targets as one example each, as `single_target_examples` makes them."""
        counts = self.target_counts
        owners = np.repeat(np.arange(len(self)), counts)
        first = np.cumsum(counts) - counts
        places = self.first_targets[owners] + np.arange(len(owners)) - first[owners]
        starts = self.starts[owners]
        return HistoryExamples(
            self.rows,
            starts,
            starts + places + 1,
            places.astype(np.int32),
            self.wordings[owners],
            self.users[owners],
        )


def cut_histories(
    rows: npt.NDArray[np.int32],
    offsets: Ints,
    max_history: int,
    *,
    last_only: bool = False,
    wordings: npt.NDArray[np.int8] | None = None,
) -> HistoryExamples:
    """Cut the items of all users into history examples; for each user those of `history_examples`, in their order.

    Args:
        rows: (M,) rows of the catalogue, one user behind the other, oldest first.
        offsets: (U + 1,) where each user's items begin.
        max_history: Most items shown before a target.
        last_only: Make each user's last item the only target.
        wordings: (U,) number of the prompt's wording of each user. None: the first one.
    """
    lengths = np.diff(offsets)
    users = np.flatnonzero(lengths >= 2)
    own = lengths[users]
    # Each piece: number of the user, first item, first target, and the end, counted in the user's items.
    if last_only:
        pieces = [(users, np.maximum(own - 1 - max_history, 0), own - 1, own)]
    else:
        stop = np.minimum(own, max_history + 1)
        pieces = [(users, np.zeros_like(own), np.ones_like(own), stop)]
        while len(users := users[stop < own]):
            target, own = stop[stop < own], lengths[users]
            # Starting half a history before its first target leaves the other half for further targets.
            start = target - (max_history + 1) // 2
            stop = np.minimum(start + max_history + 1, own)
            pieces.append((users, start, target, stop))
    users, start, target, stop = (np.concatenate(column) for column in zip(*pieces, strict=True))
    order = np.argsort(users, kind="stable")
    users, start, target, stop = users[order], start[order], target[order], stop[order]
    first = offsets[users]
    wording = np.zeros(len(users), dtype=np.int8) if wordings is None else wordings[users]
    return HistoryExamples(
        rows, first + start, first + stop, (target - start).astype(np.int32), wording, users.astype(np.int32)
    )
