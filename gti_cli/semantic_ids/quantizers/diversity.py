"""What LETTER and LC-Rec do against uneven codebooks in an RQ-VAE: a diversity loss, Sinkhorn in the last level."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Vectors = npt.NDArray[np.float32]

GROUPS = 10  # clusters of a codebook, as in LETTER
_ROUNDS = 5
_LARGEST_EXPONENT = 345.0  # a product of two such powers of e still is a float64


def code_groups(codebook: Vectors, seed: int, groups: int = GROUPS) -> npt.NDArray[np.int64]:
    """Cluster the codes of one level (K, d) into ``groups`` of at most ceil(K / groups) codes: (K,) int64 labels.

    Constrained k-means as in LETTER (arXiv 2405.07314, section 3.3); each round deals the codes out greedily, the pair
    of code and centre that are nearest first. One group where there are fewer than two codes for each.
    """
    size = len(codebook)
    if size < 2 * groups:
        return np.zeros(size, dtype=np.int64)
    centres = codebook[np.random.default_rng(seed).choice(size, groups, replace=False)].astype(np.float64)
    labels = np.zeros(size, dtype=np.int64)
    for _ in range(_ROUNDS):
        labels = _deal(((codebook[:, None, :] - centres[None]) ** 2).sum(axis=2), -(-size // groups))
        centres = np.stack(
            [
                codebook[labels == group].mean(axis=0) if (labels == group).any() else centres[group]
                for group in range(groups)
            ]
        )
    return labels


def _deal(cost: npt.NDArray[np.float64], room: int) -> npt.NDArray[np.int64]:
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

    - log(exp(e_i . e_+) / sum over j != i of exp(e_i . e_j)), the mean over the batch (LETTER, eq. 5): neighbours stay
    near, so the codes spread evenly over what they quantise.

    Args:
        codebook: (K, d). codes: (B,) chosen codes. labels: (K,) from `code_groups`.
        generator: draws the partners (on the CPU).

    Codes that are alone in their group have no partner and are left out.
    """
    partners = _partners(labels.cpu(), codes.cpu(), generator).to(codes.device)
    alone = partners == codes
    scores = codebook[codes] @ codebook.T
    positive = scores.gather(1, partners[:, None])[:, 0]
    others = scores.scatter(1, codes[:, None], -math.inf)
    losses = (others.logsumexp(dim=1) - positive).masked_fill(alone, 0.0)
    return losses.sum() / (~alone).sum().clamp(min=1)


def _partners(labels: Tensor, codes: Tensor, generator: torch.Generator) -> Tensor:
    """For each code another one of its group, drawn evenly; the code itself where it is alone."""
    order = torch.argsort(labels, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    sizes = torch.bincount(labels)
    starts = torch.cumsum(sizes, dim=0) - sizes
    size, start = sizes[labels[codes]], starts[labels[codes]]
    step = 1 + (torch.rand(len(codes), generator=generator) * (size - 1).clamp(min=1)).long()
    step = torch.minimum(step, (size - 1).clamp(min=1))
    return order[start + (place[codes] - start + step) % size]


@torch.no_grad()
def balanced_codes(rows: Tensor, codebook: Tensor, epsilon: float, iterations: int = 50) -> Tensor:
    """Codes (B,) of a batch by Sinkhorn-Knopp over its squared distances to the codes, as LC-Rec trains its last level.

    The same plan as `gti_cli.semantic_ids.quantizers.sinkhorn.transport_plan`, on the tensors' device. Two
    matrix-vector products an iteration in float64, which holds exp(1 / 0.003); in the logarithmic domain, 20 times
    slower, where that would not do (a smaller ``epsilon``, a device without float64).
    """
    cost = torch.cdist(rows, codebook).square()
    low, high = cost.min(), cost.max()
    plan = -(2 * cost - high - low) / (high - low).clamp(min=1e-12) / epsilon
    if 1 / epsilon < _LARGEST_EXPONENT and rows.device.type != "mps":
        codes = _scaled(plan.double().exp(), iterations)
        if codes is not None:
            return codes
    share = math.log(len(rows) / len(codebook))
    for _ in range(iterations):
        plan = plan - plan.logsumexp(dim=0, keepdim=True) + share
        plan = plan - plan.logsumexp(dim=1, keepdim=True)
    return plan.argmax(dim=1)


def _scaled(kernel: Tensor, iterations: int) -> Tensor | None:
    """Codes from exp(-cost / epsilon) (B, K) by scaling rows and columns; None where a number left float64's range."""
    share = len(kernel) / kernel.shape[1]
    by_row = kernel.new_ones(len(kernel))
    by_column = kernel.new_ones(kernel.shape[1])
    for _ in range(iterations):
        by_column = share / (by_row @ kernel)
        by_row = 1 / (kernel @ by_column)
    sound = bool(torch.isfinite(by_row).all() & torch.isfinite(by_column).all() & (by_column > 0).all())
    return (kernel * by_column).argmax(dim=1) if sound else None
