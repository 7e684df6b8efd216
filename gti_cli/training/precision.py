"""Which device, which number format: chosen for this machine, said, and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gti_cli.errors import InputError

if TYPE_CHECKING:
    import torch


def choose_device(name: str = "auto") -> torch.device:
    """Resolve ``auto|cpu|cuda|cuda:N|mps``; under torchrun ``cuda`` means this process's own GPU.

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    import os

    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise InputError(f"unknown device {name!r}", remedy="use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise InputError("there is no CUDA device on this machine", remedy="use --device cpu, or auto")
        index = index or os.environ.get("LOCAL_RANK", "0")
        if int(index) >= torch.cuda.device_count():
            raise InputError(
                f"there is no cuda:{index} ({torch.cuda.device_count()} GPUs)", remedy="use a smaller number"
            )
        return torch.device("cuda", int(index))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("there is no MPS device on this machine", remedy="use --device cpu, or auto")
    return torch.device(kind)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Resolve ``auto|float32|bfloat16`` for the frozen or served weights: bfloat16 on GPUs that have it, else float32.

    Raises:
        InputError: an unknown name.
    """
    import torch

    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    if name not in ("float32", "bfloat16"):
        raise InputError(f"unknown dtype {name!r}", remedy="use auto, float32 or bfloat16")
    return torch.float32 if name == "float32" else torch.bfloat16


def describe(device: torch.device) -> str:
    """The device in words, for manifests: ``"cpu (2 threads)"``, ``"cuda:0 (NVIDIA H100)"``."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, and ask torch for deterministic kernels where it has them."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries that draw from the global state
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
