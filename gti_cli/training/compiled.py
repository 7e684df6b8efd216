"""A model whose forward pass torch compiles, and whether that could be done here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from gti_cli import console


def compile_forward(model: nn.Module, loss: Callable[[], torch.Tensor]) -> str:
    """Compile ``model`` in place (``torch.compile`` for shapes that change), and try it on ``loss()`` and its gradient.

    Where that fails, the model is as before. Neither gradients nor the state of random numbers are left changed.

    Returns:
        ``"yes"``, or why not, for the manifest.
    """
    model.compile(dynamic=True)
    try:
        with torch.random.fork_rng():  # of the GPUs, too
            loss().backward()  # type: ignore[no-untyped-call]
        return "yes"
    except Exception as cause:  # a missing compiler, an operation that is not covered: torch raises many kinds
        uncompile(model)
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        console.note(f"--compile cannot be used here, training goes on without it: {lines[0]}")
        return f"no: {lines[0]}"
    finally:
        model.zero_grad(set_to_none=True)


def uncompile(model: nn.Module) -> None:
    """Let ``model`` compute as it is written again."""
    model._compiled_call_impl = None


@contextmanager
def as_written(model: nn.Module) -> Iterator[None]:
    """Let ``model`` compute as it is written for a while (a search grows its cache: each length is another program)."""
    kept = model._compiled_call_impl
    uncompile(model)
    try:
        yield
    finally:
        model._compiled_call_impl = kept
