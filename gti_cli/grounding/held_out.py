"""Held-out examples: which they are, a sample of them, and sums over them that all processes compute together.

Both objectives use this module for what they measure during and after training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch

from gti_cli.workspace import processes

BATCH = 32  # examples that are measured together


class _OfItem(Protocol):
    """Anything that belongs to an item, and so can be held out."""

    @property
    def item(self) -> int:
        """Number of the item, or of the tokens, that it belongs to."""
        ...


P = TypeVar("P", bound=_OfItem)
T = TypeVar("T")


def hold_out(
    pairs: Sequence[P], share: float, seed: int, tokens: Sequence[Collection[str]] | None = None
) -> tuple[list[P], list[P]]:
    """Split pairs into those to train on and held-out ones.

    A held-out pair is one form of an item (in both directions), so the item's other forms are usually trained on. An
    item with a single pair keeps it, because nothing else would teach its tokens; only if every item has a single pair
    are whole items held out, those whose every token stands in another pair that is trained on.

    Args:
        pairs: Pairs, or other examples that belong to items.
        share: Share of all pairs to hold out. If it is above 0, at least one is held out, where one can be.
        seed: Seed of the random choice.
        tokens: For each pair, the different tokens in it. Each of them stays in a pair to train on. None: only items
            are looked at.

    Returns:
        The pairs to train on and the held-out pairs, each in their order.
    """
    if share <= 0:
        return list(pairs), []
    per_item = Counter(pair.item for pair in pairs)
    candidates = [n for n, pair in enumerate(pairs) if per_item[pair.item] > 1]
    if not candidates:  # Every item has a single pair: only whole items can be held out.
        candidates = list(range(len(pairs)))
    most = min(max(round(share * len(pairs)), 1), len(pairs) - 1)
    chosen: set[int] = set()
    remaining = dict(per_item)  # pairs of each item that are still trained on
    tokens = tokens if tokens is not None else [()] * len(pairs)
    teaching = Counter(token for of_pair in tokens for token in of_pair)  # pairs with each token, likewise
    # A pair that may not be held out is passed over, so a choice that needs no such care is the same without it.
    for n in np.random.default_rng(seed).permutation(candidates).tolist():
        if len(chosen) == most:
            break
        item_stays = remaining[pairs[n].item] > 1 or per_item[pairs[n].item] == 1
        if item_stays and all(teaching[token] > 1 for token in tokens[n]):
            chosen.add(n)
            remaining[pairs[n].item] -= 1
            teaching.subtract(tokens[n])
    return [pair for n, pair in enumerate(pairs) if n not in chosen], [pairs[n] for n in sorted(chosen)]


def sum_over_batches(
    batch_sums: Callable[[Sequence[int]], torch.Tensor],
    count: int,
    numbers: Sequence[int],
    lengths: Sequence[int],
    device: torch.device,
    *,
    size: int = BATCH,
    lockstep: bool = False,
) -> list[float]:
    """Add sums up over batches of examples; all processes of the launch share the batches.

    Args:
        batch_sums: Computes a batch's sums, (count,) float64 on the CPU, from the numbers of its examples.
        count: How many sums there are.
        numbers: Which examples to add up, as indices of ``lengths``.
        lengths: Number of tokens of every example. Examples of similar lengths share a batch.
        device: Device through which the processes exchange their sums (a GPU's process group needs the GPU).
        size: Examples in a batch.
        lockstep: Call ``batch_sums`` equally often in every process, which processes that hold parts of the model need.
            A process that has no batch left calls it without examples, and ignores the result.

    Returns:
        The sums over all examples, the same in every process.
    """
    order = sorted(numbers, key=lambda n: lengths[n])
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    sums = torch.zeros(count, dtype=torch.float64)
    for batch in processes.share(batches, lockstep=lockstep):
        computed = batch_sums(batch)
        if batch:
            sums += computed
    if processes.world() > 1:
        shared = sums.to(device)
        torch.distributed.all_reduce(shared)
        sums = shared.cpu()
    totals: list[float] = sums.tolist()
    return totals
