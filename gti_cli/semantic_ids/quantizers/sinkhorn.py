"""Sinkhorn-Knopp: an assignment of items to codes that uses the codes evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def transport_plan(cost: npt.NDArray[np.floating[Any]], epsilon: float = 0.003, iterations: int = 50) -> Matrix:
    """Compute the entropic transport plan from n items (mass 1 each) to K codes (mass n / K each).

    Costs are scaled to [-1, 1] first, so that ``epsilon`` means the same for all data. The iteration works on
    logarithms, so that nothing underflows. (Cuturi, NeurIPS 2013; ``epsilon`` and ``iterations`` follow LC-Rec, arXiv
    2311.09049.)

    Args:
        cost: (n, K).
        epsilon: Weight of the entropy; the smaller, the closer to the cheapest balanced assignment.
        iterations: Rounds of scaling columns, then rows.

    Returns:
        (n, K) logarithm of the plan.
    """
    from scipy.special import logsumexp

    scaled = np.asarray(cost, dtype=np.float64)
    low, high = scaled.min(), scaled.max()
    if high > low:
        scaled = (2 * scaled - high - low) / (high - low)
    plan: Matrix = -scaled / epsilon
    log_column_mass = np.log(plan.shape[0] / plan.shape[1])
    for _ in range(iterations):
        plan = plan - logsumexp(plan, axis=0, keepdims=True) + log_column_mass
        plan = plan - logsumexp(plan, axis=1, keepdims=True)  # Rows last: each item has mass 1 exactly.
    return plan


def balanced_assignment(
    cost: npt.NDArray[np.floating[Any]], epsilon: float = 0.003, iterations: int = 50
) -> npt.NDArray[np.int32]:
    """The code with the largest mass for each item, (n,); arguments as in `transport_plan`."""
    return np.asarray(transport_plan(cost, epsilon, iterations).argmax(axis=1), dtype=np.int32)
