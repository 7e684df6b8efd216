"""Items that share a tuple of codes: how many there are, and how each gets a tuple of its own.

``next-best``: inside each colliding group the items share out the free codes of the last level at the least total
distortion. ``sinkhorn``: the items below a prefix that has a collision are assigned anew in the last level by a
balanced transport plan (Sinkhorn-Knopp, as LC-Rec does, arXiv 2311.09049), what still collides as in ``next-best``.
``suffix``: one more level that counts through the items of a tuple (TIGER, arXiv 2305.05065). ``allow``: as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.semantic_ids.collisions.tree import CodeTree
from gti_cli.semantic_ids.groups import members, tuple_labels
from gti_cli.semantic_ids.quantizers import residuals
from gti_cli.semantic_ids.quantizers.sinkhorn import balanced_assignment
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
RowNumbers = npt.NDArray[np.intp]

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


def resolve(
    space: VectorRows, codebooks: Sequence[Vectors], codes: Codes, policy: str, taken: Codes | None = None
) -> Resolved:
    """Give colliding items other tuples, as ``policy`` says. Items without a collision keep theirs under ``next-best``.

    Args:
        space: (N, d) what the codebooks quantise. codebooks: L arrays (K_l, d). codes: (N, L).
        policy: one of `POLICIES`; `check_capacity` has let it pass.
        taken: (M, L), or (M, L + 1) with ``suffix``: IDs of earlier items, which stay as they are; a tuple among them
            is not free, and suffixes count on from them.
    """
    if policy == "allow":
        return Resolved(codes)
    if policy == "suffix":
        return Resolved(np.hstack([codes, suffixes(codes, taken)[:, None]]))
    fixed = np.empty((0, codes.shape[1]), dtype=np.int32) if taken is None else taken
    out = codes.copy()
    if policy == "sinkhorn":
        _spread(space, codebooks, out, fixed)
    leftover = _share_out(space, codebooks, out, fixed)
    if len(leftover):
        _move_away(space, codebooks, out, leftover, fixed)
    moved = int((out != codes).any(axis=1).sum())
    moved_prefix = int((out[:, :-1] != codes[:, :-1]).any(axis=1).sum())
    return Resolved(out, moved, moved_prefix)


def suffixes(codes: Codes, taken: Codes | None = None) -> npt.NDArray[np.int32]:
    """Running number of each item among those with its tuple, in catalogue order: (N,) int32, 0 for the first.

    Args:
        codes: (N, L). taken: (M, L + 1), earlier items with their suffixes, from which the numbers go on.
    """
    suffix = np.empty(len(codes), dtype=np.int32)
    earlier = np.empty((0, codes.shape[1]), dtype=np.int32) if taken is None else taken[:, :-1]
    for rows in members(tuple_labels(np.vstack([earlier, codes]))):
        new = rows[rows >= len(earlier)] - len(earlier)
        used = rows[rows < len(earlier)]
        start = int(taken[used, -1].max()) + 1 if taken is not None and len(used) else 0
        suffix[new] = np.arange(start, start + len(new), dtype=np.int32)
    return suffix


def colliding(codes: Codes) -> npt.NDArray[np.bool_]:
    """Whether each item shares its tuple with another: (N,)."""
    labels = tuple_labels(codes)
    return np.asarray(np.bincount(labels)[labels] > 1)


def _last_distances(space: VectorRows, codebooks: Sequence[Vectors], codes: Codes, rows: RowNumbers) -> Vectors:
    """(n, K_last) squared distances of the rows' last residual to the last level's codes, up to a constant a row."""
    rest = np.asarray(space[rows]) - residuals.decode(codes[rows], codebooks, len(codebooks) - 1)
    return residuals.squared_distances(rest, codebooks[-1])


@dataclass(frozen=True)
class _Crowd:
    """A prefix (all levels but the last) with a collision: its ``rows``, which of them ``collides``, and the codes of
    the last level that earlier items have (``taken``)."""

    rows: RowNumbers
    collides: npt.NDArray[np.bool_]
    taken: npt.NDArray[np.int32]


def _crowds(codes: Codes, fixed: Codes) -> Iterator[_Crowd]:
    every = np.vstack([fixed, codes])
    first = len(fixed)
    prefixes, collides = tuple_labels(every[:, :-1]), colliding(every)
    collides[:first] = False  # they stay; whoever shares a tuple with them is the one that moves
    wanted = np.zeros(int(prefixes.max()) + 1, dtype=bool)
    wanted[prefixes[collides]] = True
    for rows in members(prefixes):
        if wanted[prefixes[rows[0]]]:
            new = rows[rows >= first]
            yield _Crowd(new - first, collides[new], every[rows[rows < first], -1])


def _spread(space: VectorRows, codebooks: Sequence[Vectors], codes: Codes, fixed: Codes) -> None:
    for crowd in _crowds(codes, fixed):
        free = np.setdiff1d(np.arange(len(codebooks[-1])), crowd.taken)
        if len(free):
            cost = _last_distances(space, codebooks, codes, crowd.rows)[:, free]
            codes[crowd.rows, -1] = free[balanced_assignment(cost)]


def _share_out(space: VectorRows, codebooks: Sequence[Vectors], codes: Codes, fixed: Codes) -> RowNumbers:
    """Assign colliding items to the free codes of their prefix; returns those for which none was left."""
    from scipy.optimize import linear_sum_assignment

    leftover: list[RowNumbers] = []
    for crowd in _crowds(codes, fixed):
        rows = crowd.rows[crowd.collides]
        staying = codes[crowd.rows[~crowd.collides], -1]
        free = np.setdiff1d(np.arange(len(codebooks[-1])), np.concatenate([crowd.taken, staying]))
        chosen, code = linear_sum_assignment(_last_distances(space, codebooks, codes, rows)[:, free])
        codes[rows[chosen], -1] = free[code]
        if len(chosen) < len(rows):
            leftover.append(np.delete(rows, chosen))
    return np.sort(np.concatenate(leftover)) if leftover else np.empty(0, dtype=np.intp)


def _move_away(
    space: VectorRows, codebooks: Sequence[Vectors], codes: Codes, leftover: RowNumbers, fixed: Codes
) -> None:
    """Items whose prefix is full go to the nearest free tuple below the deepest ancestor that has room."""
    tree = CodeTree([len(codebook) for codebook in codebooks])
    placed = np.ones(len(codes), dtype=bool)
    placed[leftover] = False
    tree.add_all(np.vstack([fixed, codes[placed]]))
    for row in leftover:
        codes[row] = tree.nearest_free(np.asarray(space[row]), codes[row], codebooks)
        tree.add(codes[row])
