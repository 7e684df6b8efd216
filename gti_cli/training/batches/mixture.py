"""Several tasks in one step: windows of histories beside ordinary examples, in given shares.

A step holds a batch of each task. Windows go through the model in one pass and examples in another, so that neither is
filled up to the other's length; the loss is the mean over the supervised tokens of both (`answer_loss.answer_loss`). A
share is therefore one of targets: an answer of many tokens weighs as many times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gti_cli.errors import InputError
from gti_cli.prompts.examples import IGNORED, Example
from gti_cli.training.batches.packing import Layout, Window
from gti_cli.training.batches.plan import BatchPlan

if TYPE_CHECKING:
    import torch

Unit = Window | Example
Sizes = tuple[Sequence[int], Sequence[int]]  # tokens and targets of each unit of a task


class Mixture:
    """How windows and examples become tokens; of windows alone, what `Layout` makes of them."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def tokens(self, unit: Unit) -> int:
        """Length of a unit's sequence."""
        return self.layout.tokens(unit) if isinstance(unit, Window) else len(unit) - 1

    def targets(self, unit: Unit) -> int:
        """Its number of answers."""
        return unit.targets if isinstance(unit, Window) else 1

    def collate(self, batch: Sequence[Unit]) -> dict[str, Any]:
        """One batch: see `Layout.collate` and `collate_examples`.

        Where there are both windows and examples, the examples stand under ``examples`` as a batch of their own.
        """
        windows = [unit for unit in batch if isinstance(unit, Window)]
        examples = [unit for unit in batch if isinstance(unit, Example)]
        if not windows:
            return dict(collate_examples(examples, self.layout.pad))
        found: dict[str, Any] = dict(self.layout.collate(windows))
        if examples:
            found["examples"] = collate_examples(examples, self.layout.pad)
        return found


def collate_examples(batch: Sequence[Example], pad: int) -> dict[str, torch.Tensor]:
    """Examples as a batch of the form of `Layout.collate`, filled up on the left so that all answers end together.

    Returns:
        ``input_ids``, ``position_ids``, ``branches`` (0; -1 for padding) (B, T) int64; ``keep`` (A,) the columns
        whose logits predict answers, A the longest answer; ``targets`` (B, A) what they predict, `IGNORED` where an
        answer is shorter.
    """
    import torch

    # The end of the answer is predicted, not read.
    width, longest = max(len(example) for example in batch) - 1, max(len(example.answer) for example in batch)
    shape = (len(batch), width)
    ids, places = np.full(shape, pad, np.int64), np.zeros(shape, np.int64)
    branches = np.full(shape, -1, np.int64)
    targets = np.full((len(batch), longest), IGNORED, np.int64)
    for row, example in enumerate(batch):
        length = len(example) - 1
        ids[row, width - length :] = [*example.prompt, *example.answer[:-1]]
        places[row, width - length :] = np.arange(length)
        branches[row, width - length :] = 0
        targets[row, longest - len(example.answer) :] = example.answer
    arrays = {
        "input_ids": ids,
        "position_ids": places,
        "branches": branches,
        "keep": np.arange(width - longest, width),
        "targets": targets,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def divide(size: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Targets of each task in a step of ``size``: in proportion to ``weights`` by largest remainders, at least one.

    Raises:
        InputError: fewer targets than tasks.
    """
    if size < len(weights):
        raise InputError(f"a step of {size} targets has no place for {len(weights)} tasks", remedy="raise --batch-size")
    total = sum(weights.values())
    wanted = {name: size * weight / total for name, weight in weights.items()}
    found = {name: max(int(value), 1) for name, value in wanted.items()}
    while (missing := size - sum(found.values())) != 0:
        # Who is furthest below what it wants gets one more; who is furthest above (and has two) gives one back.
        name = max(
            (name for name in found if missing > 0 or found[name] > 1),
            key=lambda name: (wanted[name] - found[name]) * (1 if missing > 0 else -1),
        )
        found[name] += 1 if missing > 0 else -1
    return found


class MixedPlan(BatchPlan):
    """The batches of a whole run over several tasks: step n is batch n of each task's own `BatchPlan`.

    An epoch is as many targets as all tasks have together; with weights, some tasks are then seen more often than
    once and others less (``passes``). Without, each task's share of a step is its share of all targets.

    Attributes:
        steps, targets, tokens, epochs: as in `BatchPlan`; places count through the tasks in order.
        shares: targets of each task in a step, on each process, at most. by_task: targets of each step, by task.
        sizes: targets of each task.
    """

    def __init__(
        self,
        tasks: Mapping[str, Sizes],
        weights: Mapping[str, float] | None,
        *,
        size: int,
        epochs: float,
        max_steps: int | None,
        seed: int,
        world: int = 1,
        rank: int = 0,
    ) -> None:
        """See `BatchPlan`; ``weights`` (None: the number of targets) say what share of a step each task gets."""
        self.sizes = {name: sum(targets) for name, (_, targets) in tasks.items()}
        self.shares = divide(size, weights or self.sizes)
        where: dict[str, Any] = {"world": world, "rank": rank}
        if len(tasks) == 1:
            ((name, (lengths, targets)),) = tasks.items()
            super().__init__(lengths, targets, size=size, epochs=epochs, max_steps=max_steps, seed=seed, **where)
            self.by_task = {name: self.targets}
            return
        steps = max_steps if max_steps is not None else self._count(tasks, epochs, world)
        plans = {
            name: BatchPlan(*sizes, size=self.shares[name], epochs=0, max_steps=steps, seed=(seed, number), **where)
            for number, (name, sizes) in enumerate(tasks.items())
        }
        offsets = np.cumsum([0, *(len(lengths) for lengths, _ in tasks.values())])[:-1]
        self.steps = [
            np.concatenate([batch + offset for batch, offset in zip(batches, offsets, strict=True)])
            for batches in zip(*(plan.steps for plan in plans.values()), strict=True)
        ]
        self.by_task = {name: plan.targets for name, plan in plans.items()}
        self.targets = [sum(counts) for counts in zip(*self.by_task.values(), strict=True)]
        self.tokens = [sum(counts) for counts in zip(*(plan.tokens for plan in plans.values()), strict=True)]
        self.epochs = sum(self.targets) / sum(self.sizes.values())

    def _count(self, tasks: Mapping[str, Sizes], epochs: float, world: int) -> int:
        """Steps that make ``epochs``: by the targets that a step has on average."""
        whole = {
            name: BatchPlan(*sizes, size=self.shares[name], epochs=1, max_steps=None, seed=0)
            for name, sizes in tasks.items()
        }
        average = world * sum(self.sizes[name] / len(plan) for name, plan in whole.items())
        return math.ceil(epochs * sum(self.sizes.values()) / average)

    def passes(self, steps: int) -> dict[str, float]:
        """How often the first ``steps`` steps go through each task."""
        return {name: sum(seen[:steps]) / self.sizes[name] for name, seen in self.by_task.items()}
