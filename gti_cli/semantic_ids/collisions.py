"""Items that share a tuple of codes: how many there are, and how each gets a tuple of its own.

``next-best``: inside each colliding group the items share out the free codes of the last level at the least total
distortion. ``sinkhorn``: the items below a prefix that has a collision are assigned anew in the last level by a
balanced transport plan (Sinkhorn-Knopp, as LC-Rec does, arXiv 2311.09049), what still collides as in ``next-best``.
``suffix``: one more level that counts through the items of a tuple (TIGER, arXiv 2305.05065). ``allow``: as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.semantic_ids import residuals
from gti_cli.semantic_ids.groups import members, tuple_labels
from gti_cli.semantic_ids.sinkhorn import balanced_assignment
from gti_cli.semantic_ids.tree import CodeTree

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
Rows = npt.NDArray[np.intp]

POLICIES = ("next-best", "sinkhorn", "suffix", "allow")


@dataclass(frozen=True)
class Resolved:
    """Codes after the collisions were dealt with.

    Attributes:
        codes: (N, L) int32, or (N, L + 1) with ``suffix``.
        moved: items whose codes changed. moved_prefix: of these, items that had to leave their prefix (it was full).
    """

    codes: Codes
    moved: int = 0
    moved_prefix: int = 0


def check_capacity(n: int, sizes: Sequence[int], policy: str) -> None:
    """Refuse before training what cannot end without collisions.

    Raises:
        InputError: an unknown policy, or more items than tuples.
    """
    if policy not in POLICIES:
        raise InputError(f"unknown --collisions {policy!r}", remedy=f"use one of {', '.join(POLICIES)}")
    tuples = math.prod(sizes)
    if policy in ("next-best", "sinkhorn") and n > tuples:
        product = " x ".join(f"{size:,}" for size in sizes)
        raise InputError(
            f"{n:,} items cannot all have their own of {product} = {tuples:,} tuples of codes",
            remedy="raise --codes or --levels, or use --collisions suffix or allow",
        )


def resolve(space: Vectors, codebooks: Sequence[Vectors], codes: Codes, policy: str) -> Resolved:
    """Give colliding items other tuples, as ``policy`` says. Items without a collision keep theirs under ``next-best``.

    Args:
        space: (N, d) what the codebooks quantise. codebooks: L arrays (K_l, d). codes: (N, L).
        policy: one of `POLICIES`; `check_capacity` has let it pass.
    """
    if policy == "allow":
        return Resolved(codes)
    if policy == "suffix":
        return Resolved(np.hstack([codes, suffixes(codes)[:, None]]))
    out = codes.copy()
    if policy == "sinkhorn":
        _spread(space, codebooks, out)
    leftover = _share_out(space, codebooks, out)
    if len(leftover):
        _move_away(space, codebooks, out, leftover)
    moved = int((out != codes).any(axis=1).sum())
    moved_prefix = int((out[:, :-1] != codes[:, :-1]).any(axis=1).sum())
    return Resolved(out, moved, moved_prefix)


def suffixes(codes: Codes) -> npt.NDArray[np.int32]:
    """Running number of each item among those with its tuple, in catalogue order: (N,) int32, 0 for the first."""
    suffix = np.empty(len(codes), dtype=np.int32)
    for rows in members(tuple_labels(codes)):
        suffix[rows] = np.arange(len(rows), dtype=np.int32)
    return suffix


def colliding(codes: Codes) -> npt.NDArray[np.bool_]:
    """Whether each item shares its tuple with another: (N,)."""
    labels = tuple_labels(codes)
    return np.asarray(np.bincount(labels)[labels] > 1)


def _last_distances(space: Vectors, codebooks: Sequence[Vectors], codes: Codes, rows: Rows) -> Vectors:
    """(n, K_last) squared distances of the rows' last residual to the last level's codes, up to a constant a row."""
    rest = np.asarray(space[rows]) - residuals.decode(codes[rows], codebooks, len(codebooks) - 1)
    return residuals.squared_distances(rest, codebooks[-1])


def _colliding_prefixes(codes: Codes) -> list[Rows]:
    """The rows below each prefix (all levels but the last) that has a collision."""
    prefixes = tuple_labels(codes[:, :-1])
    wanted = np.zeros(int(prefixes.max()) + 1, dtype=bool)
    wanted[prefixes[colliding(codes)]] = True
    return [rows for rows in members(prefixes) if wanted[prefixes[rows[0]]]]


def _spread(space: Vectors, codebooks: Sequence[Vectors], codes: Codes) -> None:
    for rows in _colliding_prefixes(codes):
        codes[rows, -1] = balanced_assignment(_last_distances(space, codebooks, codes, rows))


def _share_out(space: Vectors, codebooks: Sequence[Vectors], codes: Codes) -> Rows:
    """Assign colliding items to the free codes of their prefix; returns those for which none was left."""
    from scipy.optimize import linear_sum_assignment

    collides = colliding(codes)
    size = len(codebooks[-1])
    leftover: list[Rows] = []
    for below in _colliding_prefixes(codes):
        rows = below[collides[below]]
        free = np.setdiff1d(np.arange(size), codes[below[~collides[below]], -1])
        cost = _last_distances(space, codebooks, codes, rows)[:, free]
        chosen, code = linear_sum_assignment(cost)
        codes[rows[chosen], -1] = free[code]
        if len(chosen) < len(rows):
            leftover.append(np.delete(rows, chosen))
    return np.sort(np.concatenate(leftover)) if leftover else np.empty(0, dtype=np.intp)


def _move_away(space: Vectors, codebooks: Sequence[Vectors], codes: Codes, leftover: Rows) -> None:
    """Items whose prefix is full go to the nearest free tuple below the deepest ancestor that has room."""
    sizes = [len(codebook) for codebook in codebooks]
    tree = CodeTree(sizes)
    placed = np.ones(len(codes), dtype=bool)
    placed[leftover] = False
    tree.add_all(codes[placed])
    for row in leftover:
        codes[row] = tree.nearest_free(np.asarray(space[row]), codes[row], codebooks)
        tree.add(codes[row])
