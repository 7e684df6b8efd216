"""Gradient checkpointing that works with a stored prefix: layers are computed twice, the prefix's cache once.

The implementation in transformers drops the cache of keys and values, because a layer that is computed again would
append to it again. It also runs in training mode only, which turns on dropout. Here the cache is read and never
written, so `nll.objective` can continue after a prefix in evaluation mode.
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
    """Keys and values of a prefix. New keys and values are appended to the result, but not stored."""

    def __init__(self, prefix: DynamicCache) -> None:
        super().__init__()
        self.layers = prefix.layers

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's prefix followed by new states; the name and arguments are those of transformers.

        Args:
            key_states: (B, heads, S, width) new keys.
            value_states: (B, heads, S, width) new values.
            layer_idx: Number of the layer.

        Returns:
            Keys and values, (B, heads, P + S, width) each.
        """
        if layer_idx >= len(self.layers):
            return key_states, value_states
        layer: Any = self.layers[layer_idx]
        return torch.cat([layer.keys, key_states], dim=-2), torch.cat([layer.values, value_states], dim=-2)


@contextmanager
def checkpointed(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the layers of ``model`` store only their inputs for the backward pass.

    Args:
        model: A model of transformers.

    Yields:
        Nothing.

    Raises:
        InputError: When the model has no layers that support checkpointing.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise InputError(f"{type(model).__name__} cannot be trained with --gradient-checkpointing")
    for layer in layers:
        layer.forward = _recomputed(layer.forward)  # an attribute of the instance, which hides the class's method
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward``, computed again in the backward pass if there will be one."""

    def run(*inputs: Any, **more: Any) -> Any:
        """Run the layer; keep no activations where a gradient will be computed."""
        if not torch.is_grad_enabled():
            return forward(*inputs, **more)
        return checkpoint(forward, *inputs, use_reentrant=False, **more)

    return run
