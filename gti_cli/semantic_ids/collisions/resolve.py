"""Give items that share a tuple of codes different tuples, by one of four policies.

``next-best``: within each colliding group, items are assigned to free codes of the last level at the least total
distortion. ``sinkhorn``: all items below a prefix with a collision are assigned anew in the last level by a balanced
transport plan (Sinkhorn-Knopp, as LC-Rec does, arXiv 2311.09049); remaining collisions are resolved as in
``next-best``. ``suffix``: one more level numbers the items of a tuple (TIGER, arXiv 2305.05065). ``allow``: nothing is
changed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.semantic_ids.collisions.tree import CodeTree
from gti_cli.semantic_ids.groups import members, tuple_labels
from gti_cli.semantic_ids.quantizers import residual_codes
from gti_cli.semantic_ids.quantizers.sinkhorn import balanced_assignment
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
RowNumbers = npt.NDArray[np.intp]

POLICIES = ("next-best", "sinkhorn", "suffix", "allow")


@dataclass(frozen=True)
class Resolved:
    """Codes after collisions were resolved.

    Attributes:
        codes: (N, L), or (N, L + 1) with ``suffix``.
        moved: The number of items whose codes changed.
        moved_prefix: How many of these had to leave their prefix because it was full.
    """

    codes: Codes
    moved: int = 0
    moved_prefix: int = 0


def check_capacity(n: int, sizes: Sequence[int], policy: str) -> None:
    """Refuse, before anything is trained, more items than there are tuples of codes.

    Args:
        n: The number of items.
        sizes: The number of codes of each level.
        policy: One of `POLICIES`.

    Raises:
        InputError: When the policy is unknown, or there are more items than tuples.
    """
    if policy not in POLICIES:
        raise InputError(f"unknown --collisions {policy!r}", remedy=f"use one of {', '.join(POLICIES)}")
    tuples = math.prod(sizes)
    if policy in ("next-best", "sinkhorn") and n > tuples:
        product = " x ".join(f"{size:,}" for size in sizes)
        raise InputError(
            f"{n:,} items cannot all have their own of {product} = {tuples:,} tuples of codes",
            remedy=f"{_larger(n, sizes)}, or use --collisions suffix or allow",
        )


def _larger(n: int, sizes: Sequence[int]) -> str:
    """Return the fewest codes that would do on as many levels, and the fewest levels of as many codes."""
    codes = next(size for size in itertools.count(2) if size ** len(sizes) >= n)
    enough = f"raise --codes to {codes:,} or more"
    if min(sizes) < 2:  # levels of one code tell nothing apart, however many there are
        return enough
    levels = next(count for count in itertools.count(1) if min(sizes) ** count >= n)
    return f"{enough}, or --levels to {levels}"


def resolve_collisions(
    code_space: VectorRows, codebooks: Sequence[Vectors], codes: Codes, policy: str, taken: Codes | None = None
) -> Resolved:
    """Give colliding items other tuples. Under ``next-best``, items without a collision keep theirs.

    Args:
        code_space: (N, d_code) the vectors that the codebooks quantize: embeddings, or latents of an RQ-VAE.
        codebooks: L arrays (K_l, d_code).
        codes: (N, L); not modified.
        policy: One of `POLICIES`, accepted by `check_capacity`.
        taken: (M, L), or (M, L + 1) with ``suffix``: IDs of earlier items, which stay as they are. Their tuples are not
            free, and suffixes count on from theirs.
    """
    if policy == "allow":
        return Resolved(codes)
    if policy == "suffix":
        return Resolved(np.hstack([codes, suffixes(codes, taken)[:, None]]))
    earlier = np.empty((0, codes.shape[1]), dtype=np.int32) if taken is None else taken
    out = codes.copy()  # The steps below change it in place.
    if policy == "sinkhorn":
        _rebalance_crowded_prefixes(code_space, codebooks, out, earlier)
    leftover = _assign_free_codes(code_space, codebooks, out, earlier)
    if len(leftover):
        _move_to_other_prefixes(code_space, codebooks, out, leftover, earlier)
    moved = int((out != codes).any(axis=1).sum())
    moved_prefix = int((out[:, :-1] != codes[:, :-1]).any(axis=1).sum())
    return Resolved(out, moved, moved_prefix)


def suffixes(codes: Codes, taken: Codes | None = None) -> npt.NDArray[np.int32]:
    """Number the items of each tuple in catalogue order, from 0.

    Args:
        codes: (N, L).
        taken: (M, L + 1) earlier items with their suffixes, from which the numbers go on.

    Returns:
        (N,) suffixes.
    """
    earlier = np.empty((0, codes.shape[1]), dtype=np.int32) if taken is None else taken[:, :-1]
    labels = tuple_labels(np.vstack([earlier, codes]))
    first = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    if taken is not None:
        # After the largest suffix in use, not after the number of items: there may be gaps.
        np.maximum.at(first, labels[: len(earlier)], taken[:, -1].astype(np.int64) + 1)
    new = labels[len(earlier) :]
    order = np.argsort(new, kind="stable")
    # The place of each item within the run of its tuple.
    is_start = np.diff(new[order], prepend=-1) != 0
    starts = np.flatnonzero(is_start)
    places = np.arange(len(new)) - starts[np.cumsum(is_start) - 1]
    suffix = np.empty(len(new), dtype=np.int32)
    suffix[order] = places + first[new[order]]
    return suffix


def colliding(codes: Codes) -> npt.NDArray[np.bool_]:
    """Whether each item shares its tuple with another: (N,)."""
    labels = tuple_labels(codes)
    return np.asarray(np.bincount(labels)[labels] > 1)


def _last_distances(
    code_space: VectorRows, codebooks: Sequence[Vectors], norms: Vectors, codes: Codes, rows: RowNumbers
) -> Vectors:
    """(n, K_last) squared distances of the rows' last residual to the last level's codes, less one constant per row.

    ``norms`` (K_last,) are the squared norms of the last codebook, which is the same for all prefixes.
    """
    residual = np.asarray(code_space[rows]) - residual_codes.decode(codes[rows], codebooks, len(codebooks) - 1)
    return residual_codes.squared_distances(residual, codebooks[-1], norms)


@dataclass(frozen=True)
class _CrowdedPrefix:
    """A prefix (all levels but the last) below which items collide.

    Attributes:
        rows: (n,) the new items with this prefix.
        collides: (n,) whether each of them collides.
        taken: Codes of the last level that earlier items have below this prefix.
    """

    rows: RowNumbers
    collides: npt.NDArray[np.bool_]
    taken: npt.NDArray[np.int32]


def _crowded_prefixes(codes: Codes, earlier: Codes) -> Iterator[_CrowdedPrefix]:
    # This generator computes the labels once, before the caller changes any codes. They stay right while it runs: a
    # caller changes the last level only, so no item enters or leaves a prefix.
    stacked = np.vstack([earlier, codes]) if len(earlier) else codes
    first_new = len(earlier)
    prefixes, collides = tuple_labels(stacked[:, :-1]), colliding(stacked)
    collides[:first_new] = False  # Earlier items stay; a new item with the tuple of an earlier one has to move.
    crowded = np.zeros(int(prefixes.max()) + 1, dtype=bool)
    crowded[prefixes[collides]] = True
    # Most prefixes of a large catalogue have no collision: only the others get an array of their rows.
    inside = np.flatnonzero(crowded[prefixes])
    if not len(inside):
        return
    for group in members(prefixes[inside]):
        rows = inside[group]
        new = rows[rows >= first_new]
        yield _CrowdedPrefix(new - first_new, collides[new], stacked[rows[rows < first_new], -1])


def _free_codes(size: int, *used: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """The codes below ``size`` that are in none of the arrays ``used``, rising."""
    is_free = np.ones(size, dtype=bool)
    for codes in used:
        is_free[codes] = False
    return np.flatnonzero(is_free)


def _rebalance_crowded_prefixes(
    code_space: VectorRows, codebooks: Sequence[Vectors], codes: Codes, earlier: Codes
) -> None:
    """Assign all new items of each crowded prefix to its free codes by a balanced transport plan."""
    norms = residual_codes.squared_norms(codebooks[-1])
    for prefix in _crowded_prefixes(codes, earlier):
        free = _free_codes(len(codebooks[-1]), prefix.taken)
        if len(free):
            cost = _last_distances(code_space, codebooks, norms, codes, prefix.rows)[:, free]
            codes[prefix.rows, -1] = free[balanced_assignment(cost)]


def _assign_free_codes(
    code_space: VectorRows, codebooks: Sequence[Vectors], codes: Codes, earlier: Codes
) -> RowNumbers:
    """Assign colliding items to the free codes of their prefix; return the rows for which no code was left."""
    from scipy.optimize import linear_sum_assignment

    norms = residual_codes.squared_norms(codebooks[-1])
    leftover: list[RowNumbers] = []
    for prefix in _crowded_prefixes(codes, earlier):
        rows = prefix.rows[prefix.collides]
        staying = codes[prefix.rows[~prefix.collides], -1]
        free = _free_codes(len(codebooks[-1]), prefix.taken, staying)
        # With fewer free codes than items, only as many items as there are codes are assigned, at the least total cost.
        chosen, code = linear_sum_assignment(_last_distances(code_space, codebooks, norms, codes, rows)[:, free])
        codes[rows[chosen], -1] = free[code]
        if len(chosen) < len(rows):
            leftover.append(np.delete(rows, chosen))
    return np.sort(np.concatenate(leftover)) if leftover else np.empty(0, dtype=np.intp)


def _move_to_other_prefixes(
    code_space: VectorRows, codebooks: Sequence[Vectors], codes: Codes, leftover: RowNumbers, earlier: Codes
) -> None:
    """Move each item of a full prefix to the nearest free tuple below the deepest ancestor that has room."""
    placed = np.ones(len(codes), dtype=bool)
    placed[leftover] = False
    known = np.vstack([earlier, codes[placed]]) if len(earlier) else codes[placed]
    tree = CodeTree([len(codebook) for codebook in codebooks], known)
    del known
    norms = [residual_codes.squared_norms(codebook) for codebook in codebooks]
    # One after another, in catalogue order: each item that is placed takes a tuple from those after it.
    for row in leftover:
        codes[row] = tree.nearest_free(np.asarray(code_space[row]), codes[row], codebooks, norms)
        tree.add(codes[row])
