"""The Trainer of all stages that train: batches planned for the whole run, and a loss summed over its terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainingArguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Computes a batch's loss as a sum, and the number of terms in that sum.
SummedLoss = Callable[[nn.Module, dict[str, Any]], tuple[torch.Tensor, torch.Tensor]]


class BatchSampler(Protocol):
    """Batches of example numbers, in the order in which they are trained on."""

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the numbers of each batch."""
        ...

    def __len__(self) -> int:
        """Number of batches."""
        ...


class ExampleNumbers(Dataset[int]):
    """The numbers 0, 1, …, n - 1 as a dataset. The collator holds the examples and looks them up by number."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> int:
        return number


def module_loss(model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of a module whose forward pass returns the summed loss and the number of its terms.

    Args:
        model: The module that trains, possibly wrapped for several processes.
        inputs: Keyword arguments of its forward pass.

    Returns:
        The summed loss (0-dim float32) and the number of terms (0-dim int64).
    """
    outputs: tuple[torch.Tensor, torch.Tensor] = model(**inputs)
    return outputs


class PlannedTrainer(Trainer):
    """`transformers.Trainer` over batches that are planned for the whole run.

    The plan is the run's one "epoch". A resumed run therefore skips exactly the batches that were done.

    Attributes:
        passes: How often a batch, or a part of one, went through the model so far.
    """

    def __init__(
        self,
        model: PreTrainedModel | nn.Module,
        arguments: TrainingArguments,
        collate: Callable[[Sequence[int]], dict[str, Any]],
        batches: BatchSampler,
        examples: int,
        optimizer: torch.optim.Optimizer,
        loss: SummedLoss = module_loss,
    ) -> None:
        """Prepare a run.

        Args:
            model: What trains.
            arguments: Settings of the run.
            collate: Makes the tensors of a batch from the numbers of its examples: what ``loss`` takes, or ``passes``,
                a list of such parts, and ``terms``, the number of terms of all parts (0-dim int64).
            batches: This process's batches; accelerate does not divide them again.
            examples: How many examples there are.
            optimizer: Holds the parameters that train.
            loss: Computes a batch's summed loss and the number of its terms.
        """
        super().__init__(
            model=cast("PreTrainedModel", model),
            args=arguments,
            train_dataset=ExampleNumbers(examples),
            data_collator=collate,
        )
        self._batches, self._given_optimizer, self._loss = batches, optimizer, loss
        self._terms: torch.Tensor | None = None  # of the whole step, while one of several passes runs
        self.passes = 0

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned batches of this process."""
        return DataLoader(
            cast("ExampleNumbers", self.train_dataset),
            batch_sampler=self._batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.device.type == "cuda",
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimizer that was given. Under FSDP the Trainer refuses it as an argument and replaces its parameters.

        Args:
            model: Not used; part of the Trainer's signature.

        Returns:
            The optimizer.
        """
        self.optimizer = self.optimizer or self._given_optimizer
        return self.optimizer

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """The gradient of a batch, summed over its passes.

        Args:
            model: What trains, as the Trainer has wrapped it.
            inputs: The batch.
            num_items_in_batch: Not used; part of the Trainer's signature.

        Returns:
            The mean loss of the batch (0-dim).
        """
        parts = inputs.get("passes", [inputs])
        self.passes += len(parts)
        if len(parts) == 1:
            return super().training_step(model, parts[0])
        self._terms = self._terms_per_process(inputs["terms"].to(self.args.device))
        try:
            losses = []
            for number, part in enumerate(parts, start=1):
                # Data parallelism sums over the processes once, when the last pass is done.
                with nullcontext() if number == len(parts) else self.accelerator.no_sync(model):
                    losses.append(super().training_step(model, part))
        finally:
            self._terms = None
        return torch.stack(losses).sum()

    def _terms_per_process(self, count: torch.Tensor) -> torch.Tensor:
        """The number of terms that this process's summed loss is divided by."""
        world = self.args.world_size
        # Data parallelism averages gradients over the processes, whose numbers of terms differ. Dividing by
        # the mean number of terms makes that average the gradient of the mean over all terms.
        return self.accelerator.reduce(count, reduction="sum") / world if world > 1 else count

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss per term (an answer's token, say) of the step, over all processes; of a pass, its part.

        Args:
            model: What trains, as the Trainer has wrapped it.
            inputs: The batch.
            return_outputs: Return a pair, as the Trainer's own method does.
            num_items_in_batch: Not used; part of the Trainer's signature.

        Returns:
            The mean loss (0-dim), or the pair of it and None.
        """
        loss, count = self._loss(model, inputs)
        loss = loss / (self._terms_per_process(count) if self._terms is None else self._terms)
        return (loss, None) if return_outputs else loss


def last_tenth_loss(history: Sequence[Mapping[str, Any]]) -> float:
    """Mean of the last tenth of the training losses in the Trainer's log."""
    losses = [float(entry["loss"]) for entry in history if "loss" in entry]
    last = losses[-max(len(losses) // 10, 1) :]
    return sum(last) / len(last)
