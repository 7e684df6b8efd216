"""Several tasks in one step: history examples beside ordinary examples, each task with its share of the targets.

A step holds a batch of each task. History examples go through the model in one pass and ordinary examples in another,
so that neither kind is padded to the length of the other. The loss is the mean over the answers' tokens of both
(`gti_cli.training.answer_loss.answer_loss`). Shares are counted in targets: a target with a long answer therefore
weighs more in the loss than one with a short answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.prompts.examples import IGNORED, Example
from gti_cli.training.batches.batch_plan import BatchPlan
from gti_cli.training.batches.history_arrays import HistoryExamples
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.training.batches.history_packing import HistoryLayout

if TYPE_CHECKING:
    import torch

TrainingExample = HistoryExample | Example
Ints = npt.NDArray[np.int64]
TaskSizes = tuple[Ints, Ints]  # tokens and targets of each example of a task


class ExampleCollator:
    """Makes batches of training examples: history examples by a `HistoryLayout`, ordinary ones as they are."""

    def __init__(self, layout: HistoryLayout) -> None:
        """Collate with a layout.

        Args:
            layout: How history examples become tokens. Its padding is that of ordinary examples, too.
        """
        self.layout = layout

    def token_count(self, example: TrainingExample) -> int:
        """Length of an example's sequence. The last token of an answer is predicted and never read."""
        return self.layout.token_count(example) if isinstance(example, HistoryExample) else len(example) - 1

    def target_count(self, example: TrainingExample) -> int:
        """Number of an example's answers."""
        return example.target_count if isinstance(example, HistoryExample) else 1

    def sizes(self, examples: Sequence[TrainingExample]) -> TaskSizes:
        """Tokens and targets of each example of a task."""
        if isinstance(examples, HistoryExamples):
            return self.layout.token_counts(examples), examples.target_counts
        tokens = np.fromiter(map(self.token_count, examples), np.int64, len(examples))
        return tokens, np.fromiter(map(self.target_count, examples), np.int64, len(examples))

    def collate(self, batch: Sequence[TrainingExample]) -> dict[str, Any]:
        """The tensors of a batch.

        Args:
            batch: Examples of either kind, or of both.

        Returns:
            The tensors of `HistoryLayout.collate`, or of `collate_examples` where there are no history examples. Where
            there are both kinds, those of the ordinary examples stand under ``examples`` as a batch of their own.
        """
        history_batch = [example for example in batch if isinstance(example, HistoryExample)]
        example_batch = [example for example in batch if isinstance(example, Example)]
        return self.collate_rows(self.layout.pack(history_batch) if history_batch else [], example_batch)

    def collate_rows(
        self, rows: Sequence[Sequence[HistoryExample]], example_batch: Sequence[Example]
    ) -> dict[str, Any]:
        """The tensors of `collate` for rows of history examples and for ordinary examples; one of them may be empty."""
        if not rows:
            return dict(collate_examples(example_batch, self.layout.pad_id))
        tensors: dict[str, Any] = dict(self.layout.collate_rows(rows))
        if example_batch:
            tensors["examples"] = collate_examples(example_batch, self.layout.pad_id)
        return tensors


def collate_examples(batch: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Ordinary examples as a batch, padded on the left so that all answers end in the last column.

    Args:
        batch: B examples. A is the length of the longest answer.
        pad_id: Token id of padding.

    Returns:
        ``input_ids``, ``position_ids``, ``branches`` (0, or -1 for padding): (B, T) int64. ``keep``: (A,) int64, the
        columns whose logits predict the answers. ``targets``: (B, A) int64, the answers' tokens, `IGNORED` where an
        answer is shorter.
    """
    import torch

    # The last token of an answer is predicted and never read.
    width, longest = max(len(example) for example in batch) - 1, max(len(example.answer) for example in batch)
    shape = (len(batch), width)
    ids, places = np.full(shape, pad_id, np.int64), np.zeros(shape, np.int64)
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


def targets_per_task(size: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Divide the targets of a step among tasks, in proportion to their weights and at least one for each.

    Args:
        size: Targets in a step.
        weights: Weight of each task, above 0.

    Returns:
        Targets of each task; their sum is ``size``.

    Raises:
        InputError: When there are fewer targets than tasks.
    """
    if size < len(weights):
        raise InputError(
            f"a step of {size} targets cannot hold a target of each of {len(weights)} tasks",
            remedy="raise --batch-size",
        )
    total = sum(weights.values())
    exact = {name: size * weight / total for name, weight in weights.items()}
    shares = {name: max(int(value), 1) for name, value in exact.items()}
    while (missing := size - sum(shares.values())) != 0:
        # Rounding left targets over, or the minimum of one took too many. The task furthest below its exact share gets
        # one more; the task furthest above it, which must keep one, gives one back.
        name = max(
            (name for name in shares if missing > 0 or shares[name] > 1),
            key=lambda name: (exact[name] - shares[name]) * (1 if missing > 0 else -1),
        )
        shares[name] += 1 if missing > 0 else -1
    return shares


class MixedPlan(BatchPlan):
    """The batches of a whole run over several tasks: step n is batch n of each task's own `BatchPlan`.

    An epoch is as many targets as all tasks have together. With weights, some tasks are then seen more often than once
    and others less (``passes``). Without weights, each task's share of a step is its share of all targets.

    Attributes:
        steps: This process's batches, as places in the list of all tasks' examples, one task after another.
        targets: Targets of each step, on all processes together.
        tokens: Tokens of each step, on all processes together.
        epochs: Passes over the targets of all tasks together.
        shares: Most targets of each task in a step on each process.
        by_task: Targets of each step, for each task.
        sizes: Number of targets of each task.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskSizes],
        weights: Mapping[str, float] | None,
        *,
        size: int,
        epochs: float,
        max_steps: int | None,
        seed: int,
        world: int = 1,
        rank: int = 0,
    ) -> None:
        """Plan a run.

        Args:
            tasks: Tokens and targets of each task's examples.
            weights: Weight of each task in a step. None: its number of targets.
            size: Targets in a step on each process.
            epochs: Passes over the data.
            max_steps: Number of steps; overrides ``epochs`` where it is given.
            seed: Seed of the order.
            world: Number of processes.
            rank: Number of this process, from 0.
        """
        self.sizes = {name: int(np.sum(targets)) for name, (_, targets) in tasks.items()}
        self.shares = targets_per_task(size, weights or self.sizes)
        launch: dict[str, Any] = {"world": world, "rank": rank}
        if len(tasks) == 1:
            ((name, (lengths, targets)),) = tasks.items()
            super().__init__(lengths, targets, size=size, epochs=epochs, max_steps=max_steps, seed=seed, **launch)
            self.by_task = {name: self.targets}
            return
        steps = max_steps if max_steps is not None else self._step_count(tasks, epochs, world)
        # Each task shuffles with a seed of its own, and goes through its examples as often as the steps need.
        plans = {
            name: BatchPlan(*sizes, size=self.shares[name], epochs=0, max_steps=steps, seed=(seed, number), **launch)
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

    def _step_count(self, tasks: Mapping[str, TaskSizes], epochs: float, world: int) -> int:
        """Steps that make ``epochs``, by the targets that a step has on average (batches are rarely quite full)."""
        one_epoch = {
            name: BatchPlan(*sizes, size=self.shares[name], epochs=1, max_steps=None, seed=0)
            for name, sizes in tasks.items()
        }
        average = world * sum(self.sizes[name] / len(plan) for name, plan in one_epoch.items())
        return math.ceil(epochs * sum(self.sizes.values()) / average)

    def passes(self, steps: int) -> dict[str, float]:
        """How often the first ``steps`` steps go through each task's targets."""
        return {name: sum(counts[:steps]) / self.sizes[name] for name, counts in self.by_task.items()}
