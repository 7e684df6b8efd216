"""Which examples are in which batch, planned for a whole run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

_CHUNK = 50  # batches within which examples are sorted by length


def batches_of_an_epoch(
    lengths: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], size: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Shuffle examples into batches of similar lengths; every example is in one batch.

    Args:
        lengths: (n,) tokens of each example.
        targets: (n,) number of targets of each example; all 1 where ``size`` is to count examples.
        size: Most targets in a batch. An example that alone has more is a batch of its own.
        rng: Draws the order.

    Returns:
        The numbers of the examples in each batch.
    """
    order = rng.permutation(len(lengths))
    # A chunk is the examples of about `_CHUNK` batches: it ends where the running count of targets passes the next
    # multiple of their size. Sorting within chunks leaves little padding and keeps batches random. Every other chunk is
    # sorted from long to short, so that no batch joins the longest of one chunk and the shortest of the next.
    chunk = (np.cumsum(targets[order]) - 1) // (size * _CHUNK)
    order = order[np.lexsort((np.where(chunk % 2, -1, 1) * lengths[order], chunk))]
    batches: list[npt.NDArray[np.int64]] = []
    begin, filled = 0, 0
    for place, count in enumerate(targets[order].tolist()):
        if filled and filled + count > size:
            batches.append(order[begin:place])
            begin, filled = place, 0
        filled += count
    batches.append(order[begin:])
    return [batches[n] for n in rng.permutation(len(batches))]


class BatchPlan:
    """The batches of a whole run, fixed before it starts, so that a resumed run continues with exactly the next one.

    A plan is a ``batch_sampler`` for torch's ``DataLoader``. With several processes each takes every ``world``-th
    batch; an incomplete last round is filled up with the run's first batches.

    Attributes:
        steps: This process's batches, as places in the list of examples.
        targets: Targets of each step, on all processes together.
        tokens: Tokens of each step, on all processes together. Where examples are packed behind one shared
            template prefix, every example still counts the prefix's tokens.
        epochs: Passes over the targets: all targets of the run, divided by the targets of the examples.
    """

    def __init__(
        self,
        lengths: Sequence[int] | npt.NDArray[np.int64],
        targets: Sequence[int] | npt.NDArray[np.int64],
        *,
        size: int,
        epochs: float,
        max_steps: int | None,
        seed: int | Sequence[int],
        world: int = 1,
        rank: int = 0,
    ) -> None:
        """Plan a run.

        Args:
            lengths: Number of tokens of each example.
            targets: Number of targets of each example.
            size: Most targets in a batch, see `batches_of_an_epoch`.
            epochs: Passes over the examples; may be a fraction.
            max_steps: Number of steps; overrides ``epochs`` where it is given.
            seed: Seed of the order.
            world: Number of processes.
            rank: Number of this process, from 0.
        """
        rng = np.random.default_rng(seed)
        all_lengths, all_targets = np.asarray(lengths, np.int64), np.asarray(targets, np.int64)
        batches: list[npt.NDArray[np.int64]] = []
        left = math.inf if max_steps is not None else epochs
        while left > 0 and (max_steps is None or len(batches) < max_steps * world):
            epoch = batches_of_an_epoch(all_lengths, all_targets, size, rng)
            batches += epoch[: math.ceil(len(epoch) * min(left, 1))]
            left -= 1
        # Every process takes the same number of steps, so the number of batches is a multiple of theirs.
        count = (max_steps if max_steps is not None else math.ceil(len(batches) / world)) * world
        batches = [batches[n % len(batches)] for n in range(count)]
        self.steps = batches[rank::world]
        batch_targets = [int(all_targets[batch].sum()) for batch in batches]
        self.epochs = sum(batch_targets) / int(all_targets.sum())
        batch_tokens = [int(all_lengths[batch].sum()) for batch in batches]
        self.targets = [sum(batch_targets[n : n + world]) for n in range(0, count, world)]
        self.tokens = [sum(batch_tokens[n : n + world]) for n in range(0, count, world)]

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.steps)

    def __len__(self) -> int:
        return len(self.steps)


class SharedPlan:
    """A plan of global batches of which each process takes its share: all processes together do the work of one."""

    def __init__(self, plan: BatchPlan, world: int, rank: int) -> None:
        """Take one process's share.

        Args:
            plan: The global batches.
            world: Number of processes.
            rank: Number of this process, from 0.
        """
        self._plan, self._world, self._rank = plan, world, rank

    def __iter__(self) -> Iterator[list[int]]:
        return (batch[self._rank :: self._world] for batch in self._plan)

    def __len__(self) -> int:
        return len(self._plan)
