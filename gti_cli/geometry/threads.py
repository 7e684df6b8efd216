"""How many threads linear algebra uses."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """One BLAS thread inside: eigenvalues and QR of a matrix of a few thousand rows gain next to nothing from more.

    Where other work shares the processor they lose a lot: threads that wait for one another spin.
    """
    limits: AbstractContextManager[Any] = import_module("threadpoolctl").threadpool_limits(1, user_api="blas")
    return limits  # threadpoolctl comes with scikit-learn
