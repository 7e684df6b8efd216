"""Gradient checkpointing that keeps the frozen prefix: layers are computed twice, the cache before them once.

transformers' own drops the cache of keys and values, because a layer that is computed again would add to it again, and
is active in training mode only, in which dropout is too. Here the cache is read and not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ReadOnlyCache(DynamicCache):
    """Keys and values of a prefix: what comes behind is put to them and not kept."""

    def __init__(self, prefix: DynamicCache) -> None:
        super().__init__()
        self.layers = prefix.layers

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Prefix and new states of a layer, (B, heads, P + S, width) each."""
        if layer_idx >= len(self.layers):
            return key_states, value_states
        layer: Any = self.layers[layer_idx]
        return torch.cat([layer.keys, key_states], dim=-2), torch.cat([layer.values, value_states], dim=-2)


@contextmanager
def checkpointed(model: PreTrainedModel) -> Iterator[None]:
    """Within the block the layers of ``model`` keep their inputs alone for the backward pass.

    Raises:
        InputError: the model is not made of layers that transformers could checkpoint.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise InputError(f"{type(model).__name__} cannot be trained with --gradient-checkpointing")
    for layer in layers:
        layer.forward = _twice(layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _twice(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: Any, **more: Any) -> Any:
        """``forward``, computed again for the backward pass where there will be one."""
        if not torch.is_grad_enabled():
            return forward(*inputs, **more)
        return checkpoint(forward, *inputs, use_reentrant=False, **more)

    return run
