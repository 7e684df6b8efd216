"""Even use of an RQ-VAE's codes: LETTER's diversity loss, and LC-Rec's balanced assignment in the last level."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Vectors = npt.NDArray[np.float32]

GROUPS = 10  # clusters of a codebook, as in LETTER
_ROUNDS = 5  # of k-means
_LARGEST_EXPONENT = 345.0  # exp(345)**2 is still a finite float64.


def code_groups(codebook: Vectors, seed: int, groups: int = GROUPS) -> npt.NDArray[np.int64]:
    """Cluster the codes of one level into groups of at most ceil(K / groups) codes.

    Constrained k-means as in LETTER (arXiv 2405.07314, section 3.3); each round assigns codes to centroids greedily,
    the nearest pair of code and centroid first.

    Args:
        codebook: (K, d).
        seed: Seed of the starting centroids.
        groups: The number of groups; with fewer than two codes for each, all codes form one group.

    Returns:
        (K,) the group of each code.
    """
    size = len(codebook)
    if size < 2 * groups:
        return np.zeros(size, dtype=np.int64)
    centroids = codebook[np.random.default_rng(seed).choice(size, groups, replace=False)].astype(np.float64)
    labels = np.zeros(size, dtype=np.int64)
    for _ in range(_ROUNDS):
        cost = ((codebook[:, None, :] - centroids[None]) ** 2).sum(axis=2)
        labels = _assign_greedily(cost, -(-size // groups))
        centroids = np.stack(
            [
                codebook[labels == group].mean(axis=0) if (labels == group).any() else centroids[group]
                for group in range(groups)
            ]
        )
    return labels


def _assign_greedily(cost: npt.NDArray[np.float64], room: int) -> npt.NDArray[np.int64]:
    """Assign codes to groups, the cheapest pair of ``cost`` (K, groups) first, at most ``room`` codes to a group."""
    labels = np.full(len(cost), -1, dtype=np.int64)
    free = [room] * cost.shape[1]
    for pair in np.argsort(cost, axis=None, kind="stable").tolist():
        code, group = divmod(pair, cost.shape[1])
        if labels[code] < 0 and free[group]:
            labels[code] = group
            free[group] -= 1
    return labels


def diversity_loss(codebook: Tensor, codes: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Pull each chosen code towards a random other code of its group and push it from all others (scalar).

    The loss is - log(exp(e_i . e_+) / sum over j != i of exp(e_i . e_j)), averaged over the batch (LETTER, eq. 5).

    Args:
        codebook: (K, d).
        codes: (B,) chosen codes. A code that is alone in its group has no partner and is left out of the mean.
        labels: (K,) groups from `code_groups`.
        generator: Draws the partners; on the CPU.
    """
    partners = _partners(labels.cpu(), codes.cpu(), generator).to(codes.device)
    alone = partners == codes
    scores = codebook[codes] @ codebook.T
    positive = scores.gather(1, partners[:, None])[:, 0]
    others = scores.scatter(1, codes[:, None], -math.inf)
    losses = (others.logsumexp(dim=1) - positive).masked_fill(alone, 0.0)
    return losses.sum() / (~alone).sum().clamp(min=1)


def _partners(labels: Tensor, codes: Tensor, generator: torch.Generator) -> Tensor:
    """For each code (B,) another code of its group, uniformly at random; the code itself where it is alone."""
    # ``order`` lists the codes group by group; ``place`` is the position of each code in it.
    order = torch.argsort(labels, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    sizes = torch.bincount(labels)
    starts = torch.cumsum(sizes, dim=0) - sizes
    size, start = sizes[labels[codes]], starts[labels[codes]]
    # Go 1 to size - 1 positions on within the group, cyclically: every other code is reached by exactly one step. In a
    # group of one code the step is 1 and leads back to the code.
    step = 1 + (torch.rand(len(codes), generator=generator) * (size - 1).clamp(min=1)).long()
    step = torch.minimum(step, (size - 1).clamp(min=1))  # In float32, the product may round up to size - 1.
    return order[start + (place[codes] - start + step) % size]


@torch.no_grad()
def balanced_codes(rows: Tensor, codebook: Tensor, epsilon: float, iterations: int = 50) -> Tensor:
    """Assign a batch to codes by Sinkhorn-Knopp over the squared distances, as LC-Rec trains its last level.

    The same plan as `gti_cli.semantic_ids.quantizers.sinkhorn.transport_plan`, on the tensors' device. An iteration is
    two matrix-vector products in float64, whose range includes exp(1 / 0.003). Where that range does not suffice (a
    smaller ``epsilon``) or the device lacks float64, the iteration works on logarithms, which is 20 times slower.

    Args:
        rows: (B, d).
        codebook: (K, d).
        epsilon: Weight of the entropy.
        iterations: Rounds of scaling columns, then rows.

    Returns:
        (B,) codes.
    """
    cost = torch.cdist(rows, codebook).square()
    low, high = cost.min(), cost.max()
    plan = -(2 * cost - high - low) / (high - low).clamp(min=1e-12) / epsilon
    if 1 / epsilon < _LARGEST_EXPONENT and rows.device.type != "mps":
        codes = _codes_by_scaling(plan.double().exp(), iterations)
        if codes is not None:
            return codes
    log_column_mass = math.log(len(rows) / len(codebook))
    for _ in range(iterations):
        plan = plan - plan.logsumexp(dim=0, keepdim=True) + log_column_mass
        plan = plan - plan.logsumexp(dim=1, keepdim=True)
    return plan.argmax(dim=1)


def _codes_by_scaling(kernel: Tensor, iterations: int) -> Tensor | None:
    """Codes from exp(-cost / epsilon) (B, K) by scaling rows and columns; None where a factor left float64's range."""
    column_mass = len(kernel) / kernel.shape[1]
    by_row = kernel.new_ones(len(kernel))
    by_column = kernel.new_ones(kernel.shape[1])
    for _ in range(iterations):
        by_column = column_mass / (by_row @ kernel)
        by_row = 1 / (kernel @ by_column)
    sound = bool(torch.isfinite(by_row).all() & torch.isfinite(by_column).all() & (by_column > 0).all())
    return (kernel * by_column).argmax(dim=1) if sound else None  # A row's own factor does not change its argmax.
