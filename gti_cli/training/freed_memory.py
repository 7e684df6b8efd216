"""What happens to main memory that is freed."""

from __future__ import annotations

import ctypes


def return_memory_from(size: int) -> None:
    """Let glibc return freed blocks of ``size`` bytes and more to the operating system.

    By default it learns to keep freed blocks of up to 32 MiB, and so keeps the memory of the whole model after its
    layers were sharded. With SmolLM2-135M in two processes 1,404 MB remained after loading, against 750 MB where blocks
    of 1 MiB and more are returned.

    Args:
        size: Bytes of the smallest block that is returned.
    """
    try:
        ctypes.CDLL(None).mallopt(-3, size)  # M_MMAP_THRESHOLD
    except (OSError, AttributeError, TypeError):
        return  # not glibc: nothing to set
