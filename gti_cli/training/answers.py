"""The Trainer for windows and examples: loss on the answers' tokens only, logits computed nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainingArguments

from gti_cli.training.packing import IGNORED, Layout, Window, separate, tree_mask
from gti_cli.training.plan import BatchPlan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gti_cli.training.mixture import Mixture, Unit


class UnitDataset(Dataset["Unit"]):
    """A list of windows and examples as torch wants it."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = units

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, place: int) -> Unit:
        return self.units[place]


def answer_logits(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits (B, K, V) of what predicts the answers in a batch of `Layout.collate`; K is the length of ``keep``."""
    branches = batch["branches"]
    if bool(branches.max() > 1):
        kind = branches.device.type
        autocast = torch.is_autocast_enabled(kind)
        # Attention kernels want the mask in the number format of what they compute.
        mask = tree_mask(batch, torch.get_autocast_dtype(kind) if autocast else next(model.parameters()).dtype)
    else:  # ordinary examples: the model makes its own causal mask
        mask = (branches >= 0).long()
    logits: torch.Tensor = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=mask,
        logits_to_keep=batch["keep"],
        use_cache=False,
    ).logits
    return logits


def answer_loss(model: nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihood (nats, softmax over the whole vocabulary) of the answers in a batch of `Mixture.collate`.

    Returns:
        its sum over the answers' tokens (0-dim float32) and the number of these tokens (0-dim int64).
    """
    if "examples" in batch:
        parts = [{name: value for name, value in batch.items() if name != "examples"}, batch["examples"]]
        (first, count), (second, more) = (answer_loss(model, part) for part in parts)
        return first + second, count + more
    logits, targets = answer_logits(model, batch), batch["targets"]
    loss = functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return loss, (targets != IGNORED).sum()


@torch.no_grad()
def mean_loss(
    model: nn.Module,
    layout: Layout | Mixture,
    units: Sequence[Any],
    size: int,
    device: torch.device,
    autocast: bool = False,
) -> float:
    """Mean loss per answer token over units of ``layout``, ``size`` of them at a time, the model in the mode it is in.

    Args:
        autocast: compute in bfloat16. The context is left before this returns: it keeps bfloat16 copies of weights,
            which must not outlive a step of the optimizer.
    """
    lengths = [layout.tokens(unit) for unit in units]
    order = sorted(range(len(units)), key=lambda n: lengths[n])
    total, count = 0.0, 0
    for start in range(0, len(order), size):
        batch = layout.collate([units[n] for n in order[start : start + size]])
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss, tokens = answer_loss(model, on_device(batch, device))
        total, count = total + float(loss), count + int(tokens)
    return total / count


def on_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch of `Mixture.collate` there."""
    return {
        name: on_device(value, device) if isinstance(value, dict) else value.to(device) for name, value in batch.items()
    }


@torch.no_grad()
def takes_trees(model: nn.Module, layout: Layout, windows: Sequence[Window], device: torch.device) -> bool:
    """Whether the model computes the same for the rows of ``layout`` as for their targets one by one.

    Tried on the longest window with several targets and on the longest row that ``layout`` makes of the shortest
    windows: attention that takes no mask of our own fails or differs, and so does one that looks back less far than a
    row is long.
    """
    several = [window for window in windows if window.targets > 1]
    if not several:
        return False
    short = layout.rows(sorted(windows, key=layout.tokens)[:64])
    tried = [[max(several, key=layout.tokens)], max(short, key=lambda row: layout.sequence(row).shape[1])]

    def logits(row: list[Window]) -> torch.Tensor:
        """Of all answers in a row, one behind the other."""
        tensors = {name: value.to(device) for name, value in layout.collate_rows([row]).items()}
        return answer_logits(model, tensors).float().flatten(0, 1)

    def same(row: list[Window]) -> bool:
        """Whether a row gives what its targets give alone."""
        alone = torch.cat([logits([single]) for window in row for single in separate(window)])
        return bool((logits(row) - alone).abs().max() < 1e-3 * alone.std())

    try:
        return all(same(row) for row in tried)
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
        return False


class AnswerTrainer(Trainer):
    """`transformers.Trainer` over a `BatchPlan` of windows and examples.

    The batches are planned for the whole run, so there is one "epoch" and a resumed run skips what was done.
    """

    def __init__(
        self,
        model: PreTrainedModel | nn.Module,
        arguments: TrainingArguments,
        layout: Layout | Mixture,
        units: Sequence[Unit],
        plan: BatchPlan,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        super().__init__(
            model=cast("PreTrainedModel", model),
            args=arguments,
            train_dataset=UnitDataset(units),
            data_collator=layout.collate,
        )
        self._plan, self._given = plan, optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned batches; they are divided among processes already, so accelerate must not do it again."""
        return DataLoader(
            cast("UnitDataset", self.train_dataset),
            batch_sampler=self._plan,
            collate_fn=self.data_collator,
            pin_memory=self.args.device.type == "cuda",
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The one that was given: under FSDP the Trainer refuses it as an argument, and exchanges its parameters."""
        self.optimizer = self.optimizer or self._given
        return self.optimizer

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss per answer token of the step, over all processes."""
        loss, count = answer_loss(model, inputs)
        world = self.args.world_size
        if world > 1:
            # DDP averages gradients over processes; their numbers of targets may differ.
            count = self.accelerator.reduce(count, reduction="sum") / world
        loss = loss / count
        return (loss, None) if return_outputs else loss
