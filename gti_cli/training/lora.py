"""LoRA (Hu et al., arXiv 2106.09685): which layers it adapts, and adapters within a frozen model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gti_cli.errors import InputError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

_ADAPTED_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def projections(model: PreTrainedModel) -> list[str]:
    """The last parts of the names of a model's layers that get an adapter: the list of the GTI paper's appendix.

    Args:
        model: A causal LM.

    Raises:
        InputError: When the model has none of these layers.
    """
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    layers = [layer for layer in _ADAPTED_LAYERS if layer in names]
    if not layers:
        raise InputError(f"--lora knows none of the layers of {type(model).__name__}", remedy="train without --lora")
    return layers


def with_adapters(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """`peft.get_peft_model` without a warning of transformers that only peft can mend (it uses an old name)."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


class Adapters(nn.Module):
    """Low-rank adapters put into a frozen model in place.

    From then on the model computes with them. This module itself holds their weights and their dropout and nothing of
    the model, so that an optimizer, a checkpoint and ``train()`` reach the adapters alone. The adapters are float32
    also where the model is bfloat16.
    """

    def __init__(self, model: PreTrainedModel, *, rank: int, alpha: float, dropout: float) -> None:
        """Add adapters, which change no output until they are trained.

        Args:
            model: A causal LM; its `projections` are adapted.
            rank: Rank of the adapters.
            alpha: Their scale.
            dropout: Their dropout.

        Raises:
            InputError: When the model has no such layers, see `projections`.
        """
        super().__init__()
        from peft import LoraConfig
        from peft.tuners.lora import LoraLayer

        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,  # type: ignore[arg-type]
            lora_dropout=dropout,
            target_modules=projections(model),
            task_type="CAUSAL_LM",
        )
        (name,) = with_adapters(model, config).peft_config
        self._name = name
        self._layers: dict[str, Any] = {n: layer for n, layer in model.named_modules() if isinstance(layer, LoraLayer)}
        self.parts = nn.ModuleList(
            nn.ModuleList([part[name] for part in (layer.lora_A, layer.lora_B, layer.lora_dropout)])
            for layer in self._layers.values()
        )
        self.eval()

    @torch.no_grad()
    def merge_into(self, model: PreTrainedModel) -> None:
        """Add the adapters to the weights of a plain copy of the model, in the copy's number format.

        Args:
            model: The copy.
        """
        for name, layer in self._layers.items():
            weight: Any = model.get_submodule(name).weight
            change = layer.get_delta_weight(self._name).float().to(weight.device)
            weight.copy_(weight.float() + change)
