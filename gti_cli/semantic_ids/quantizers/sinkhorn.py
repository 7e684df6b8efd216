"""Sinkhorn-Knopp: an assignment of items to codes that uses the codes evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def transport_plan(cost: npt.NDArray[np.floating[Any]], epsilon: float = 0.003, iterations: int = 50) -> Matrix:
    """Logarithm of the entropic transport plan from n items (mass 1 each) to K codes (mass n / K each): (n, K).

    Costs are scaled to [-1, 1] first, so that ``epsilon`` (the weight of the entropy; small = close to the cheapest
    balanced assignment) means the same for all data. In the log domain, so that nothing underflows. (Cuturi, NeurIPS
    2013; ``epsilon`` and the number of iterations follow LC-Rec, arXiv 2311.09049.)
    """
    from scipy.special import logsumexp

    scaled = np.asarray(cost, dtype=np.float64)
    low, high = scaled.min(), scaled.max()
    if high > low:
        scaled = (2 * scaled - high - low) / (high - low)
    plan: Matrix = -scaled / epsilon
    columns = np.log(plan.shape[0] / plan.shape[1])
    for _ in range(iterations):
        plan = plan - logsumexp(plan, axis=0, keepdims=True) + columns
        plan = plan - logsumexp(plan, axis=1, keepdims=True)
    return plan


def balanced_assignment(
    cost: npt.NDArray[np.floating[Any]], epsilon: float = 0.003, iterations: int = 50
) -> npt.NDArray[np.int32]:
    """The code with the largest mass for each item, (n,) int32; ``cost`` (n, K) as in `transport_plan`."""
    return np.asarray(transport_plan(cost, epsilon, iterations).argmax(axis=1), dtype=np.int32)
