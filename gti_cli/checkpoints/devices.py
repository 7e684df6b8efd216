"""Choose device and number format for this machine, and seed the random generators."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.errors import InputError

if TYPE_CHECKING:
    import torch

# Where oneDNN, and torch above it, read how many prepared kernels they keep. A pass through a small LM made about 18.
_KEPT_KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}


def choose_device(name: str = "auto") -> torch.device:
    """Resolve the option ``--device``.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. Under torchrun ``cuda`` is the process's own GPU.

    Raises:
        InputError: When the name is unknown, or this machine has no such device.
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
        _disable_cudnn_attention()
        return torch.device("cuda", int(index))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("there is no MPS device on this machine", remedy="use --device cpu, or auto")
    if kind == "cpu":
        _keep_few_kernels()
    return torch.device(kind)


def _keep_few_kernels() -> None:
    """Keep a CPU's bfloat16 from filling the memory with kernels that nothing asks for again.

    oneDNN prepares a kernel for each shape of a matrix product, of half a megabyte or more, and keeps 1,024 of them;
    torch keeps as many above it. Here almost every batch has a shape of its own. So 900 steps of training took 2.4 GB
    for a model of 5 million weights. The other layers of a pass use its kernels again, for which a few are enough.
    The user's own numbers take precedence. Both are read at the first product, so they must be there before it.
    """
    import os

    for name, number in _KEPT_KERNELS.items():
        os.environ.setdefault(name, number)


def _disable_cudnn_attention() -> None:
    """Keep torch from choosing cuDNN's attention, which is its first choice on an H100.

    cuDNN prepares an execution plan for each new shape, forward and backward, and here almost every batch has a shape
    of its own. The memory-efficient and flash kernels need no such preparation.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Resolve the option ``--dtype`` for weights that are not trained.

    Warns when bfloat16 is chosen on a CPU that has no instructions for it.

    Args:
        name: ``auto`` (bfloat16 on GPUs that support it, else float32), ``float32`` or ``bfloat16``.
        device: Where the weights will lie.

    Raises:
        InputError: When the name is unknown.
    """
    import torch

    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    if name not in ("float32", "bfloat16"):
        raise InputError(f"unknown dtype {name!r}", remedy="use auto, float32 or bfloat16")
    if name == "float32":
        return torch.float32
    is_x86 = device.type == "cpu" and platform.machine().lower() in ("x86_64", "amd64")
    if is_x86 and _cpu_bfloat16_instructions() is None:
        # Measured on one thread with AVX2, a product of 2048 x 576 by 576 x 1536: 1.2 GFLOP/s, 73 in float32.
        console.warn(
            "this CPU has no bfloat16 instructions (AMX, AVX-512 BF16): bfloat16 is many times slower than float32 on "
            "it; use --dtype float32 or auto"
        )
    return torch.bfloat16


def _cpu_bfloat16_instructions() -> str | None:
    """Name the bfloat16 instructions of an x86 CPU; None where it has none or torch cannot tell."""
    import torch

    for function, instructions in (("_is_amx_tile_supported", "AMX"), ("_is_avx512_bf16_supported", "AVX-512 BF16")):
        supported = getattr(torch.cpu, function, None)  # not in every version of torch
        if supported is not None and supported():
            return instructions
    return None


def choose_training_dtype(name: str, device: torch.device) -> tuple[torch.dtype, str]:
    """Resolve the option ``--dtype`` for the arithmetic of training; the trained weights are float32 in any case.

    ``auto`` is bfloat16 where the machine has instructions for it: on GPUs that support it, and on CPUs with AMX or
    AVX-512 BF16 (a whole step was 1.5 times faster with AVX-512 BF16). A fixed rule decides and no timing, so that a
    run can be repeated.

    Args:
        name: ``auto``, ``float32`` or ``bfloat16``.
        device: Where the model is trained.

    Returns:
        The number format, and the reason for it as a phrase.

    Raises:
        InputError: When the name is unknown.
    """
    import torch

    if name != "auto":
        return choose_dtype(name, device), "asked for"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
        return (torch.bfloat16, "fast on this GPU") if fast else (torch.float32, "this GPU has no bfloat16")
    if device.type == "cpu":
        if instructions := _cpu_bfloat16_instructions():
            return torch.bfloat16, f"fast on this CPU ({instructions})"
        return torch.float32, "this CPU has no bfloat16 instructions"
    return torch.float32, "the safe choice on this device"


def describe(device: torch.device) -> str:
    """Describe a device for manifests: ``"cpu (2 threads)"``, ``"cuda:0 (NVIDIA H100)"``."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return str(device)
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' if threads > 1 else ''})"


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, and have torch use deterministic kernels where it has them.

    transformers' ``set_seed`` is not used: it fails for seeds of more than 32 bits, and with ``deterministic`` an
    operation without a deterministic kernel is an error.
    """
    import random
    import warnings

    import numpy as np
    import torch

    # Attention on a GPU has no deterministic backward pass with a mask. Nobody can act on torch's warning about it.
    warnings.filterwarnings("ignore", message=".*Attention defaults to a non-deterministic algorithm")
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - for libraries that draw from the global state
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # In deterministic mode torch fills new tensors, in case a program reads them before it writes: this costs 2 to 6 %
    # of a step on a CPU, and no code here does so.
    switches: Any = torch.utils.deterministic
    switches.fill_uninitialized_memory = False
