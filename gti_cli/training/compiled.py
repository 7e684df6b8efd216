"""``--compile``: a forward pass compiled by torch, tried before training and switched off where it does not work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from gti_cli import console


def compile_forward(model: nn.Module, loss: Callable[[], torch.Tensor]) -> str:
    """Compile a model's forward pass in place, and try it on a loss and its gradient.

    Where that fails, the model is as before. Gradients and the state of random numbers are left unchanged.

    Args:
        model: What trains. It is compiled for shapes that change (``torch.compile`` with ``dynamic=True``).
        loss: Computes a loss with the model.

    Returns:
        ``"yes"``, or ``"no: "`` and the reason, for the manifest.
    """
    model.compile(dynamic=True)
    try:
        with torch.random.fork_rng():  # also the generators of the GPUs
            loss().backward()  # type: ignore[no-untyped-call]
        return "yes"
    except Exception as cause:  # a missing compiler, an unsupported operation: torch raises many kinds
        remove_compiled(model)
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        console.note(f"--compile cannot be used here, training goes on without it: {lines[0]}")
        return f"no: {lines[0]}"
    finally:
        model.zero_grad(set_to_none=True)


def remove_compiled(model: nn.Module) -> None:
    """Drop a model's compiled forward pass."""
    model._compiled_call_impl = None


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Use the plain forward pass within the block.

    A beam search needs it: its cache grows with each token, and each length would be compiled anew.

    Args:
        model: A model, compiled or not.
    """
    compiled_call = model._compiled_call_impl
    remove_compiled(model)
    try:
        yield
    finally:
        model._compiled_call_impl = compiled_call
