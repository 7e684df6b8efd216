"""The loss of fine-tuning: negative log-likelihood of the answers' tokens. Other positions get no logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from gti_cli.prompts.examples import IGNORED
from gti_cli.training.batches.history_examples import HistoryExample, single_target_examples
from gti_cli.training.batches.history_packing import HistoryLayout, tree_mask
from gti_cli.training.batches.mixture import ExampleCollator
from gti_cli.training.head_loss import AddedLogits
from gti_cli.training.model_head import ModelHead
from gti_cli.training.prior_weights import PriorWeights, find

_TRIED_EXAMPLES = 64  # short examples from which a packed row is made to test the tree mask
_TOLERANCE = 1e-3  # of the logits' standard deviation: differences below are rounding


def answer_logits(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits at the positions that predict the answers of a batch.

    Args:
        model: A causal LM.
        batch: B rows, as `HistoryLayout.collate` or `collate_examples` makes them.

    Returns:
        (B, K, V), K the length of the batch's ``keep``.
    """
    branches = batch["branches"]
    if bool(branches.max() > 1):
        kind = branches.device.type
        autocast = torch.is_autocast_enabled(kind)
        # Attention kernels need the mask in the number format that they compute in.
        mask = tree_mask(batch, torch.get_autocast_dtype(kind) if autocast else next(model.parameters()).dtype)
    else:  # With one target in each row there is nothing to hide: the model makes its own causal mask.
        mask = (branches >= 0).long()
    logits: torch.Tensor = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=mask,
        logits_to_keep=batch["keep"],
        use_cache=False,
    ).logits
    return logits


def answer_loss(
    model: nn.Module, batch: dict[str, Any], head: ModelHead | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihood of the answers of a batch: nats, softmax over the whole vocabulary.

    Args:
        model: A causal LM.
        batch: As `ExampleCollator.collate` makes it.
        head: Computes the loss of the model's output head in chunks (None: from the model's logits).

    Returns:
        The sum over the answers' tokens (0-dim float32) and the number of these tokens (0-dim int64).
    """
    if "examples" in batch:
        # History examples and ordinary ones go through the model separately, see `batches.mixture`.
        history_batch = {name: value for name, value in batch.items() if name != "examples"}
        parts = (history_batch, batch["examples"])
        (first, count), (second, more) = (answer_loss(model, part, head) for part in parts)
        return first + second, count + more
    if head is not None:
        return _loss_in_chunks(model, batch, head)
    logits, targets = answer_logits(model, batch).float(), batch["targets"]
    if "prior" in batch:
        logits = with_prior(model, logits, batch["prior"])
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return loss, (targets != IGNORED).sum()


def _loss_in_chunks(
    model: nn.Module, batch: dict[str, torch.Tensor], head: ModelHead
) -> tuple[torch.Tensor, torch.Tensor]:
    """`answer_loss` from the hidden states at the positions that predict an answer, never all logits at once."""
    with head.recording() as recorded:
        answer_logits(model, batch)
    targets = batch["targets"].flatten()
    places = (targets != IGNORED).nonzero().squeeze(1)
    added = None
    if "prior" in batch:
        values, ids = _prior_of(model).weighted(batch["prior"])
        added = AddedLogits(values.flatten(0, 1)[places], ids.flatten(0, 1)[places])
    loss = head.loss(recorded[0].flatten(0, 1)[places], targets[places], added)
    return loss, torch.tensor(len(places), device=loss.device)


def with_prior(model: nn.Module, logits: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Add the bias of the model's behaviour prior to logits, see `PriorWeights.add_to`."""
    return _prior_of(model).add_to(logits, bias)


def _prior_of(model: nn.Module) -> PriorWeights:
    weights = find(model)
    if weights is None:
        raise ValueError("the batch has the bias of a behaviour prior, but the model has no weights for it")
    return weights


@torch.no_grad()
def mean_loss(
    model: nn.Module,
    collator: HistoryLayout | ExampleCollator,
    examples: Sequence[Any],
    batch_size: int,
    device: torch.device,
    autocast: bool = False,
) -> float:
    """Mean loss per answer token over examples, with the model in the mode that it is in.

    Args:
        model: A causal LM.
        collator: Makes batches of the examples.
        examples: Examples of a kind that the collator takes.
        batch_size: Examples in a batch.
        device: Where the model is.
        autocast: Compute in bfloat16. The context is left before this returns: it caches bfloat16 copies of weights,
            which must not outlive a step of the optimizer.

    Returns:
        The loss in nats.
    """
    from accelerate.utils import send_to_device  # type: ignore[import-untyped]

    # Batches of similar length need little padding.
    lengths = [collator.token_count(example) for example in examples]
    order = sorted(range(len(examples)), key=lambda n: lengths[n])
    total, count = 0.0, 0
    for start in range(0, len(order), batch_size):
        batch = collator.collate([examples[n] for n in order[start : start + batch_size]])
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss, tokens = answer_loss(model, send_to_device(batch, device))
        total, count = total + float(loss), count + int(tokens)
    return total / count


@torch.no_grad()
def supports_tree_mask(
    model: nn.Module, layout: HistoryLayout, examples: Sequence[HistoryExample], device: torch.device
) -> bool:
    """Whether the model computes the same for packed history examples as for their targets one by one.

    It is tried on two rows: the longest example with several targets, and the longest row that ``layout`` makes of the
    shortest examples. A model whose attention takes no mask of our own fails or gives other logits; so does one whose
    attention reaches back less far than a row is long.

    Args:
        model: A causal LM.
        layout: How the examples are to be packed.
        examples: The examples of the run.
        device: Where the model is.

    Returns:
        Whether they agree. False where no example has several targets.
    """
    lengths, targets = ExampleCollator(layout).sizes(examples)
    if int(targets.max(initial=0)) <= 1:
        return False
    longest = examples[int(np.where(targets > 1, lengths, 0).argmax())]
    shortest = np.argsort(lengths, kind="stable")[:_TRIED_EXAMPLES]
    packed = layout.pack([examples[number] for number in shortest.tolist()])
    tried = [[longest], max(packed, key=lambda row: layout.token_table(row).shape[1])]

    def logits(rows: list[list[HistoryExample]]) -> torch.Tensor:
        """Logits of all answers in each of some rows: (rows, answers' tokens, vocabulary)."""
        tensors = {name: value.to(device) for name, value in layout.collate_rows(rows).items()}
        return answer_logits(model, tensors).float()

    def agrees(row: list[HistoryExample]) -> bool:
        """Whether a row gives the logits that its targets give as separate examples."""
        singles = [single for example in row for single in single_target_examples(example)]
        separate: dict[int, torch.Tensor] = {}
        # Those of one length go through the model together: that needs no padding, which a model may take differently.
        for length in {layout.token_count(single) for single in singles}:
            numbers = [number for number, single in enumerate(singles) if layout.token_count(single) == length]
            separate.update(zip(numbers, logits([[singles[number]] for number in numbers]), strict=True))
        expected = torch.cat([separate[number] for number in range(len(singles))])
        return bool((logits([row])[0] - expected).abs().max() < _TOLERANCE * expected.std())

    try:
        return all(agrees(row) for row in tried)
    # Models refuse a four-dimensional mask with any of these.
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
        return False
