"""Control of the number of threads that linear algebra uses."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """Limit BLAS to one thread within a ``with`` block.

    Eigenvalues and QR decompositions of matrices of a few thousand rows gain almost nothing from more threads. Where
    other work shares the processor they become much slower, because threads that wait for each other keep it busy.
    """
    # threadpoolctl comes with scikit-learn. It has no type information, hence the import by name.
    limits: AbstractContextManager[Any] = import_module("threadpoolctl").threadpool_limits(1, user_api="blas")
    return limits
