"""How much of a step goes through the model at once: as much as a fixed amount of memory allows.

What fills the memory of a step are the tensors that the forward pass keeps for the backward pass. They grow with the
tokens of a pass. So one example and two copies of it go through the model, and the bytes that autograd keeps are
counted: the difference is what an example takes, whatever the model is made of. The count depends on shapes alone, and
the budget on the model and the kind of device, not on what happens to be free. The same run on the same kind of machine
is therefore divided alike, and gives the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gti_cli.prompts.examples import Example
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.training.batches.mixture import collate_examples
from gti_cli.training.batches.passes import PassLimit

if TYPE_CHECKING:
    from gti_cli.training.batches.mixture import ExampleCollator, TrainingExample

    # Computes the loss of a batch and the number of its terms.
    Loss = Callable[[nn.Module, dict[str, Any]], tuple[torch.Tensor, torch.Tensor]]

# Every pass reads and writes the gradient of all weights once more, so passes must not be too small. On a CPU the step
# of a small model takes 1.5 % longer in three passes of this size than in one; in passes of two thirds of it, 6 %.
_LEAST = 96 * 2**20  # bytes: the budget of a small model on a CPU
# The budget of a larger model on a CPU, in sizes of its weights. A step of SmolLM2-135M takes 15 % longer than in one
# pass, and 3.7 GB instead of 5.3.
_WEIGHTS = 0.6
_SHARE_OF_GPU = 4  # a GPU is kept busy by large passes: a quarter of its memory


@dataclass(frozen=True)
class MicroBatch:
    """How a step is divided.

    Attributes:
        limit: How much a pass holds.
        bytes_per_token: What the model keeps of a token for the backward pass. None: it was not measured.
        budget: Bytes that a pass may keep. None: the limit is given.
    """

    limit: PassLimit
    bytes_per_token: int | None = None
    budget: int | None = None

    def recorded(self) -> dict[str, int]:
        """The figures of the manifest."""
        figures = {
            "tokens": self.limit.tokens,
            "targets": self.limit.targets,
            "bytes_per_token": self.bytes_per_token,
            "budget_bytes": self.budget,
        }
        return {name: int(value) for name, value in figures.items() if value is not None and math.isfinite(value)}


def choose_micro_batch(
    model: nn.Module,
    loss: Loss,
    collator: ExampleCollator,
    examples: Sequence[TrainingExample],
    device: torch.device,
    *,
    autocast: bool = False,
    checkpointed_layers: int = 0,
) -> MicroBatch:
    """Measure what a token takes, and divide the budget by it.

    Args:
        model: What trains. Its gradients and the state of random numbers are left as they are.
        loss: The loss of the run.
        collator: Makes batches.
        examples: The examples of a step. The longest of each kind is tried.
        device: Where the model is.
        autocast: Compute in bfloat16.
        checkpointed_layers: Number of layers, of which gradient checkpointing will keep the inputs alone; 0: no
            gradient checkpointing.
    """
    per_token = 0
    for batches, width in _trials(collator, examples):
        one, two = (_bytes_kept(model, loss, batch, device, autocast) for batch in batches)
        per_token = max(per_token, math.ceil((two - one) / width))
    if checkpointed_layers:
        # One layer at a time is computed again in the backward pass, and keeps its tensors until it is done.
        inputs = _width_of(model) * torch.float32.itemsize * checkpointed_layers
        per_token = inputs + per_token // checkpointed_layers
    budget = memory_budget(model, device)
    return MicroBatch(PassLimit(tokens=max(budget // max(per_token, 1), 1)), per_token, budget)


def memory_budget(model: nn.Module, device: torch.device) -> int:
    """Bytes that a pass may keep for its backward pass.

    Args:
        model: What trains. On a CPU a pass may keep 0.6 times what the weights take, and no less than 96 MiB.
            Weights, gradients and AdamW's averages together take four times what the weights take.
        device: On a GPU a pass may keep a quarter of its memory.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // _SHARE_OF_GPU
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return max(_LEAST, int(_WEIGHTS * weights))


def _trials(
    collator: ExampleCollator, examples: Sequence[TrainingExample]
) -> list[tuple[tuple[dict[str, Any], dict[str, Any]], int]]:
    """Of each kind of example the longest, once and twice as a batch; and its tokens."""
    trials: list[tuple[tuple[dict[str, Any], dict[str, Any]], int]] = []
    histories = [example for example in examples if isinstance(example, HistoryExample)]
    ordinary = [example for example in examples if isinstance(example, Example)]
    if histories:
        row = [max(histories, key=collator.token_count)]
        trials.append(
            (
                (dict(collator.layout.collate_rows([row])), dict(collator.layout.collate_rows([row, row]))),
                collator.token_count(row[0]),
            )
        )
    if ordinary:
        longest, pad_id = max(ordinary, key=collator.token_count), collator.layout.pad_id
        trials.append(
            (
                (dict(collate_examples([longest], pad_id)), dict(collate_examples([longest, longest], pad_id))),
                collator.token_count(longest),
            )
        )
    return trials


def _bytes_kept(model: nn.Module, loss: Loss, batch: dict[str, Any], device: torch.device, autocast: bool) -> int:
    """Bytes that autograd keeps of a batch's forward pass, besides the weights."""
    from accelerate.utils import send_to_device  # type: ignore[import-untyped]

    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor's memory, once for all that share it."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        # Without its place in the graph. An operation such as the sigmoid keeps its own result: the two would keep each
        # other for as long as the process runs.
        return tensor.detach()

    training = model.training
    model.train()
    try:
        with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                # The result is held until the count is done: with it the tensors would go, and others take their place.
                result = loss(model, send_to_device(batch, device))
            total = sum(kept.values())
            del result
    finally:
        model.train(training)
    return total


def _width_of(model: nn.Module) -> int:
    """Width of a model's hidden states."""
    config: Any = model.config
    return int(config.get_text_config().hidden_size)
