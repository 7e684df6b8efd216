"""LoRA with the new rows trained beside it, and merged so that nothing of it remains in the checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.training.lora import projections

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn
    from transformers import PreTrainedModel


def add_lora(
    model: PreTrainedModel, new_ids: npt.NDArray[np.int64], *, rank: int, alpha: float, dropout: float
) -> tuple[Any, list[nn.Parameter]]:
    """Freeze ``model`` and add adapters to its projections, and the new rows as parameters of their own.

    The rows of a tied matrix train once, those of an untied head and embedding each for themselves. Pretrained rows
    stay as they are, bit for bit (the paper trains both matrices in full; that is what tuning without LoRA does).

    Returns:
        the peft model, and its parameters that hold the new rows.

    Raises:
        InputError: no layer of this architecture is known, or the head has a bias, which peft's rows would drop.
    """
    from peft import LoraConfig, get_peft_model

    layers = projections(model)
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if getattr(head, "bias", None) is not None:
        raise InputError(f"--lora cannot train the rows of {type(model).__name__}'s head, which has a bias")
    matrices: list[Any] = [model.get_input_embeddings()]
    if head.weight is not matrices[0].weight:
        matrices.append(head)
    where = {name: new_ids.tolist() for name, module in model.named_modules() if any(module is m for m in matrices)}
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=rank,
            lora_alpha=alpha,  # type: ignore[arg-type]
            lora_dropout=dropout,
            target_modules=layers,
            trainable_token_indices=where,
            task_type="CAUSAL_LM",
        ),
    )
    rows = [p for name, p in adapted.named_parameters() if "trainable_tokens_delta" in name and p.requires_grad]
    if len(rows) != len(matrices):
        raise RuntimeError(f"peft trains {len(rows)} sets of new rows where the model has {len(matrices)}")
    return adapted, rows


def merge_lora(adapted: Any) -> PreTrainedModel:
    """Add the adapters to the weights and put the new rows in their place; gives back the plain model."""
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged
