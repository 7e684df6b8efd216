"""The loss of fine-tuning: negative log-likelihood of the answers' tokens, with logits computed nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from gti_cli.prompts.examples import IGNORED
from gti_cli.training.batches.packing import Layout, Window, separate, tree_mask

if TYPE_CHECKING:
    from gti_cli.training.batches.mixture import Mixture


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
