"""Which device, which number format: chosen for this machine, said, and recorded."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from gti_cli import console
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
        _plan_no_attention()
        return torch.device("cuda", int(index))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("there is no MPS device on this machine", remedy="use --device cpu, or auto")
    return torch.device(kind)


def _plan_no_attention() -> None:
    """Keep torch from cuDNN's attention, its first choice on an H100.

    It makes a plan for every new shape, forward and backward, and almost every batch of ours has one of its own. The
    memory-efficient and flash kernels take any shape.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Resolve ``auto|float32|bfloat16`` for the frozen or served weights: bfloat16 on GPUs that have it, else float32.

    Warns where bfloat16 is asked for and the CPU has to imitate it.

    Raises:
        InputError: an unknown name.
    """
    import torch

    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    if name not in ("float32", "bfloat16"):
        raise InputError(f"unknown dtype {name!r}", remedy="use auto, float32 or bfloat16")
    if name == "float32":
        return torch.float32
    if device.type == "cpu" and platform.machine().lower() in ("x86_64", "amd64") and _bfloat16_of_cpu() is None:
        # Measured on an AVX2 machine: 1.2 GFLOP/s against 73 in a product of 2048 x 576 by 576 x 1536, one thread.
        console.warn(
            "this CPU has no bfloat16 instructions (AMX, AVX-512 BF16): it computes in bfloat16 many times slower than "
            "in float32; use --dtype float32, or auto"
        )
    return torch.bfloat16


def _bfloat16_of_cpu() -> str | None:
    """The instructions for bfloat16 that an x86 CPU has, in words; None without, or where torch cannot tell."""
    import torch

    for test, words in (("_is_amx_tile_supported", "AMX"), ("_is_avx512_bf16_supported", "AVX-512 BF16")):
        supported = getattr(torch.cpu, test, None)  # not in every version of torch
        if supported is not None and supported():
            return words
    return None


def choose_training_dtype(name: str, device: torch.device) -> tuple[torch.dtype, str]:
    """Resolve ``auto|float32|bfloat16`` for computing in training, where float32 weights are kept in any case.

    bfloat16 where the machine has instructions for it: GPUs that do, and CPUs with AMX or AVX-512 BF16 (measured: a
    whole step 1.5 times faster with AVX-512 BF16). A rule, not a measurement, so that a run can be repeated.

    Returns:
        the number format, and why it was chosen, in words.

    Raises:
        InputError: an unknown name.
    """
    import torch

    if name != "auto":
        return choose_dtype(name, device), "asked for"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
        return (torch.bfloat16, "fast on this GPU") if fast else (torch.float32, "this GPU has no bfloat16")
    if device.type == "cpu":
        if words := _bfloat16_of_cpu():
            return torch.bfloat16, f"fast on this CPU ({words})"
        return torch.float32, "this CPU has no bfloat16 instructions"
    return torch.float32, "the safe choice on this device"


def describe(device: torch.device) -> str:
    """The device in words, for manifests: ``"cpu (2 threads)"``, ``"cuda:0 (NVIDIA H100)"``."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, and ask torch for deterministic kernels where it has them."""
    import random
    import warnings

    import numpy as np
    import torch

    # Attention on a GPU has no deterministic backward pass that takes a mask, and says so once a run to no avail.
    warnings.filterwarnings("ignore", message=".*Attention defaults to a non-deterministic algorithm")
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries that draw from the global state
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Else torch fills all memory that it hands out, for those who read before they write: 2 to 6 % of a step (CPU).
    switches: Any = torch.utils.deterministic
    switches.fill_uninitialized_memory = False
