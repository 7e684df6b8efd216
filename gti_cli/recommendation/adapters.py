"""LoRA with the new rows trained beside it, and merged so that nothing of it remains in the checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.training.lora import adapted, projections

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import nn
    from transformers import PreTrainedModel


def add_lora(
    model: PreTrainedModel, new_ids: npt.NDArray[np.int64], *, rank: int, alpha: float, dropout: float
) -> tuple[Any, list[nn.Parameter]]:
    """Freeze ``model`` and add adapters to its projections, and the new rows as parameters of their own.

    The rows of a tied matrix train once, those of an untied head and embedding each for themselves. Pretrained rows
    stay as they are, bit for bit (the paper trains both matrices in full; that is what tuning without LoRA does).

    A head with a bias trains as a copy of which only the new rows and their biases get a gradient: peft's rows would
    drop the bias.

    Returns:
        the peft model, and its parameters that hold the new rows.

    Raises:
        InputError: no layer of this architecture is known, or a head with a bias shares its matrix with the embedding.
    """
    from peft import LoraConfig

    layers = projections(model)
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    tied, biased = head.weight is embedding.weight, getattr(head, "bias", None) is not None
    if tied and biased:
        raise InputError(
            f"--lora cannot train {type(model).__name__}'s head: it has a bias and the embedding's matrix",
            remedy="train without --lora",
        )
    names = {module: name for name, module in model.named_modules() if module in (embedding, head)}
    rows_of = [embedding] if tied or biased else [embedding, head]
    tuned = adapted(
        model,
        LoraConfig(
            r=rank,
            lora_alpha=alpha,  # type: ignore[arg-type]
            lora_dropout=dropout,
            target_modules=layers,
            trainable_token_indices={names[module]: new_ids.tolist() for module in rows_of},
            modules_to_save=[names[head]] if biased else None,
            task_type="CAUSAL_LM",
        ),
    )
    rows = [p for name, p in tuned.named_parameters() if "trainable_tokens_delta" in name and p.requires_grad]
    if len(rows) != len(rows_of):
        raise RuntimeError(f"peft trains {len(rows)} sets of new rows where the model has {len(rows_of)}")
    if biased:
        rows += _new_rows_alone(tuned, names[head], new_ids)
    return tuned, rows


def _new_rows_alone(adapted: Any, head: str, new_ids: npt.NDArray[np.int64]) -> list[nn.Parameter]:
    """The weight and bias of peft's copy of ``head``, with gradients for the new rows alone.

    Adam without weight decay leaves a coordinate that never has a gradient where it is, bit for bit.
    """
    import torch

    found = [p for name, p in adapted.named_parameters() if f"{head}.modules_to_save" in name and p.requires_grad]
    for parameter in found:
        old = torch.ones(len(parameter), dtype=torch.bool, device=parameter.device)
        old[torch.tensor(new_ids, device=parameter.device)] = False  # a copy: torch warns of read-only arrays
        parameter.register_hook(lambda gradient, old=old: gradient.masked_fill(_wide(old, gradient), 0))
    if len(found) != 2:
        raise RuntimeError(f"peft trains {len(found)} parameters of the head where it has a weight and a bias")
    return found


def _wide(old: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """(V,) as (V, 1) for a matrix."""
    return old.view(-1, *[1] * (gradient.dim() - 1))


def merge_lora(adapted: Any) -> PreTrainedModel:
    """Add the adapters to the weights and put the new rows in their place; gives back the plain model."""
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged
