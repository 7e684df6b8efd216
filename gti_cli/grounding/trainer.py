"""The Trainer of grounding: planned batches, the objective's loss, checkpoints that hold the new rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from gti_cli.grounding.batches import Places
from gti_cli.training.plan import BatchPlan

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SharedPlan:
    """A plan of global batches of which this process takes its share of each: ``world`` processes do one's work."""

    def __init__(self, plan: BatchPlan, world: int, rank: int) -> None:
        self._plan, self._world, self._rank = plan, world, rank

    def __iter__(self) -> Iterator[list[int]]:
        return (batch[self._rank :: self._world] for batch in self._plan)

    def __len__(self) -> int:
        return len(self._plan)


class GroundTrainer(Trainer):
    """`transformers.Trainer` over batches planned for the whole run (one "epoch"): resuming skips what is done."""

    def __init__(
        self,
        model: nn.Module,
        arguments: TrainingArguments,
        collator: Callable[[Sequence[int]], dict[str, Any]],
        plan: BatchPlan,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        super().__init__(
            model=cast("PreTrainedModel", model),
            args=arguments,
            train_dataset=Places(1 + max(int(batch.max()) for batch in plan.steps)),
            data_collator=collator,
            optimizers=(optimizer, None),
        )
        self._plan = plan

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned batches; they are divided among processes here, so accelerate must not do it again."""
        return DataLoader(
            cast("Places", self.train_dataset),
            batch_sampler=SharedPlan(self._plan, self.args.world_size, self.args.process_index),
            collate_fn=self.data_collator,
            pin_memory=self.args.device.type == "cuda",
        )

    def losses(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the loss over a batch's answer tokens, and their number."""
        found: tuple[torch.Tensor, torch.Tensor] = model(**inputs)
        return found

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss per answer token (of distillation: per position) of the step, over all processes."""
        loss, count = self.losses(model, inputs)
        world = self.args.world_size
        if world > 1:
            # DDP averages gradients over processes; their numbers of tokens differ.
            count = self.accelerator.reduce(count, reduction="sum") / world
        loss = loss / count
        return (loss, None) if return_outputs else loss
