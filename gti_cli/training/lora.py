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

_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def projections(model: PreTrainedModel) -> list[str]:
    """The names of those of ``model``'s layers that are adapted (the paper's list).

    Raises:
        InputError: no layer of this architecture is known.
    """
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    layers = [layer for layer in _LAYERS if layer in names]
    if not layers:
        raise InputError(f"--lora knows none of the layers of {type(model).__name__}", remedy="train without --lora")
    return layers


def adapted(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """`peft.get_peft_model`, without the warning that it asks transformers by an old name: no user can mend that."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


class Adapters(nn.Module):
    """Low-rank adapters put into a model in place; as a module, just what trains of them and their dropout.

    The model computes with them from then on. They are float32 also where it is bfloat16.
    """

    def __init__(self, model: PreTrainedModel, *, rank: int, alpha: float, dropout: float) -> None:
        """Add adapters to the `projections` of ``model``; they change nothing until they are trained.

        Raises:
            InputError: see `projections`.
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
        (name,) = adapted(model, config).peft_config
        self._name = name
        self._layers: dict[str, Any] = {n: layer for n, layer in model.named_modules() if isinstance(layer, LoraLayer)}
        self.parts = nn.ModuleList(
            nn.ModuleList([part[name] for part in (layer.lora_A, layer.lora_B, layer.lora_dropout)])
            for layer in self._layers.values()
        )
        self.eval()

    @torch.no_grad()
    def merge_into(self, model: PreTrainedModel) -> None:
        """Add the adapters to the weights of a plain copy of the model, in its number format."""
        for name, layer in self._layers.items():
            weight: Any = model.get_submodule(name).weight
            change = layer.get_delta_weight(self._name).float().to(weight.device)
            weight.copy_(weight.float() + change)
