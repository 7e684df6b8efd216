"""LoRA for fine-tuning, with the new rows and the weights of a behaviour prior trained beside the adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.training.lora import projections, with_adapters
from gti_cli.training.prior_weights import ATTRIBUTE, find

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import nn
    from transformers import PreTrainedModel


def add_lora(
    model: PreTrainedModel, new_ids: npt.NDArray[np.int64], *, rank: int, alpha: float, dropout: float
) -> tuple[Any, list[nn.Parameter]]:
    """Freeze a model, and add adapters to its projections and parameters for the new rows.

    Where input embedding and output head are tied, the new rows are one set of parameters, otherwise two. Pretrained
    rows stay as they are, bit for bit. (The GTI paper trains both matrices in full; so does tuning without LoRA.)

    An untied output head with a bias trains as a copy of which only the new rows and their biases get a gradient: the
    rows that peft trains would drop the bias. The bias of a tied head stays as it is, that of new tokens, too.
    The weights of a behaviour prior train as a copy, too.

    Args:
        model: A causal LM.
        new_ids: Numbers of the new rows.
        rank: Rank of the adapters.
        alpha: Their scale.
        dropout: Their dropout.

    Returns:
        The peft model, and those of its parameters that hold the new rows. Its ``merge_and_unload()`` returns the plain
        model with the adapters and the new rows in its weights, and with the trained weights of the prior.

    Raises:
        InputError: When the model has none of the layers that LoRA adapts.
        InputError: When the output head has a bias and shares its matrix with the input embedding, and peft does not
            know that it does.
    """
    from peft import LoraConfig

    layers = projections(model)
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    tied, biased = head.weight is embedding.weight, getattr(head, "bias", None) is not None
    untied_bias = biased and not tied
    names = {module: name for name, module in model.named_modules() if module in (embedding, head)}
    modules_with_rows = [embedding] if tied or untied_bias else [embedding, head]
    trained_whole = [*([names[head]] if untied_bias else []), *([ATTRIBUTE] if find(model) is not None else [])]
    adapted = with_adapters(
        model,
        LoraConfig(
            r=rank,
            lora_alpha=alpha,  # type: ignore[arg-type]
            lora_dropout=dropout,
            target_modules=layers,
            trainable_token_indices={names[module]: new_ids.tolist() for module in modules_with_rows},
            modules_to_save=trained_whole or None,
            task_type="CAUSAL_LM",
        ),
    )
    rows = [p for name, p in adapted.named_parameters() if "trainable_tokens_delta" in name and p.requires_grad]
    if len(rows) != len(modules_with_rows):
        raise RuntimeError(f"peft trains {len(rows)} sets of new rows where the model has {len(modules_with_rows)}")
    if untied_bias:
        rows += _train_new_rows_only(adapted, names[head], new_ids)
    elif biased:
        _keep_bias(adapted, names[head], type(model).__name__)
    return adapted, rows


def _keep_bias(adapted: Any, head: str, kind: str) -> None:
    """Let a tied head with trained rows add its bias, which peft 0.21 leaves out of the logits."""
    import torch
    from peft.utils.other import TrainableTokensWrapper

    wrapper = adapted.base_model.model.get_submodule(head)
    if not isinstance(wrapper, TrainableTokensWrapper):
        raise InputError(
            f"--lora cannot train the output head of {kind}: it has a bias and shares its matrix with the input "
            "embedding, which its configuration does not say",
            remedy="train without --lora, or write tie_word_embeddings into config.json",
        )
    plain: Any = wrapper.original_module
    with torch.no_grad():
        kept = plain.bias.clone()
        plain.bias.fill_(1.0)
        is_left_out = not wrapper(torch.zeros_like(plain.weight[:1])).any()
        plain.bias.copy_(kept)
    if is_left_out:  # another version of peft may add it
        wrapper.register_forward_hook(lambda _module, _inputs, logits: logits + plain.bias)


def _train_new_rows_only(adapted: Any, head: str, new_ids: npt.NDArray[np.int64]) -> list[nn.Parameter]:
    """The weight and bias of peft's copy of the output head, with gradients for the new rows alone.

    Adam without weight decay leaves a coordinate whose gradient is always 0 where it is, bit for bit.
    """
    import torch

    parameters = [p for name, p in adapted.named_parameters() if f"{head}.modules_to_save" in name and p.requires_grad]
    for parameter in parameters:
        old = torch.ones(len(parameter), dtype=torch.bool, device=parameter.device)
        old[torch.tensor(new_ids, device=parameter.device)] = False  # a copy: torch warns of read-only arrays
        parameter.register_hook(lambda gradient, old=old: gradient.masked_fill(_per_row(old, gradient), 0))
    if len(parameters) != 2:
        raise RuntimeError(f"peft trains {len(parameters)} parameters of the head where it has a weight and a bias")
    return parameters


def _per_row(flags: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Flags (V,) in a shape that broadcasts over the rows of ``values``: (V, 1) for a matrix."""
    return flags.view(-1, *[1] * (values.dim() - 1))
