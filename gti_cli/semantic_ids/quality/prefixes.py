"""What a shared prefix of codes means: nearest neighbours, categories, and titles of the largest groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.token_names import LC_REC, semantic_id, split_tokens
from gti_cli.geometry.neighbours import nearest
from gti_cli.semantic_ids.groups import members, tuple_labels
from gti_cli.semantic_ids.quantizers import residual_codes
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]

NEIGHBOURS = 10
DEPTHS = 3  # Prefixes of 1 to 3 codes.
FULLEST = 10
QUERIES, QUERIES_OF_MANY = 4096, 1024  # items whose neighbours are looked up: at most, and of more than `_MANY` items
_MANY = 100_000
_BLOCK = 1 << 13  # rows of embeddings in memory at a time


def neighbourhood_kept(
    vectors: VectorRows, codes: Codes, seed: int, neighbours: int = NEIGHBOURS, queries: int | None = None
) -> dict[str, Any]:
    """Measure how many of an item's nearest neighbours (by cosine of the embeddings) share its first 1, 2, 3 codes.

    Args:
        vectors: (N, d).
        codes: (N, L).
        seed: Seed of the sample of items.
        neighbours: The number of neighbours of each item, the item itself left out; fewer in a small catalogue.
        queries: The most items whose neighbours are looked up; of a larger catalogue a sample is drawn. None: by the
            size of the catalogue.

    Returns:
        ``queries`` (the number of items looked up), ``neighbours`` and ``prefixes``: for each depth ``recall`` (mean
        share of the neighbours that share the prefix), ``by_chance`` (mean share of all other items that share it),
        ``lift`` = recall / by_chance, and ``attainable``, the highest recall that prefixes of these sizes can have.
        ``prefixes`` is empty for a catalogue of one item.
    """
    n = len(vectors)
    k = min(neighbours, n - 1)
    queries = queries or (QUERIES if n <= _MANY else QUERIES_OF_MANY)
    chosen = np.arange(n)
    if n > queries:
        chosen = np.sort(np.random.default_rng(seed).choice(n, queries, replace=False))
    report: dict[str, Any] = {"queries": len(chosen), "neighbours": k, "prefixes": []}
    if k == 0:
        return report
    neighbour_ids = nearest(np.asarray(vectors[chosen]), _id_blocks(vectors), k + 1).ids
    # An item is among its own k + 1 nearest, unless more than k others are exactly as near; then the last is dropped.
    itself = neighbour_ids == chosen[:, None]
    itself[~itself.any(axis=1), -1] = True
    around = neighbour_ids[~itself].reshape(len(chosen), k)
    for depth in range(1, min(DEPTHS, codes.shape[1]) + 1):
        labels = tuple_labels(codes[:, :depth])
        recall = float((labels[around] == labels[chosen][:, None]).mean())
        others = np.bincount(labels)[labels[chosen]] - 1  # items that share the prefix, for each item looked up
        chance = float(others.mean() / (n - 1))
        report["prefixes"].append(
            {
                "depth": depth,
                "recall": recall,
                "by_chance": chance,
                "lift": recall / chance if chance else None,
                "attainable": float(np.minimum(others, k).mean() / k),
            }
        )
    return report


def _id_blocks(vectors: VectorRows) -> Iterator[tuple[npt.NDArray[np.int64], Vectors]]:
    """Row numbers and rows, block by block."""
    for part in residual_codes.blocks(len(vectors), _BLOCK):
        yield np.arange(part.start, part.stop, dtype=np.int64), np.asarray(vectors[part])


def purity(values: npt.NDArray[np.int64], codes: Codes, seed: int) -> list[dict[str, float | int]]:
    """Measure how well the prefixes of each depth separate a label such as the category.

    Args:
        values: (N,) the number of each item's label, from 0; items with a negative one are left out.
        codes: (N, L).
        seed: Seed of the shuffle.

    Returns:
        For each depth ``items`` (those with a label), ``purity`` (share of items whose label is the most common one
        below their prefix: Manning et al., Introduction to Information Retrieval, ch. 16.3) and ``shuffled``: the
        purity after the IDs are permuted at random, which is high where groups are small. Empty where no item has a
        label.
    """
    has_label = values >= 0
    if not has_label.any():
        return []
    if not has_label.all():
        values, codes = values[has_label], codes[has_label]
    shuffled = np.random.default_rng(seed).permutation(len(values))
    report: list[dict[str, float | int]] = []
    for depth in range(1, codes.shape[1] + 1):
        groups = tuple_labels(codes[:, :depth])
        report.append(
            {
                "depth": depth,
                "items": len(values),
                "purity": _purity(groups, values),
                "shuffled": _purity(groups[shuffled], values),
            }
        )
    return report


def _purity(groups: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float:
    """The share of items that have the most common label of their group; groups and labels (n,) count from 0."""
    kinds = int(labels.max()) + 1  # fewer than items, as are groups: the product of both fits in 64 bits
    pairs = groups * kinds
    pairs += labels
    pairs.sort()
    starts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]]))  # of the items of one group and label
    counts = np.diff(starts, append=len(pairs))
    group = pairs[starts] // kinds
    first = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))  # where the runs of each group begin
    return float(np.maximum.reduceat(counts, first).sum() / len(groups))


def fullest_prefixes(
    codes: Codes,
    code_space: VectorRows,
    titles_of: Callable[[list[int]], list[str]],
    style: str = LC_REC,
    depth: int = 1,
    most: int = FULLEST,
    shown: int = 3,
) -> list[dict[str, Any]]:
    """List the prefixes with the most items, the largest first; ties in order of the codes.

    Args:
        codes: (N, L).
        code_space: (N, d_code) the vectors that the codebooks quantize.
        titles_of: Returns the titles of some rows; it is called once, for those that are shown.
        style: Style of the token names: ``lc-rec`` or ``onerec``.
        depth: The number of codes in a prefix.
        most: The number of prefixes to list.
        shown: The number of titles to list for each.

    Returns:
        For each prefix ``prefix`` (names of its codes), ``items``, ``share`` of the catalogue, and ``titles`` of the
        items nearest to the group's mean in ``code_space``, which show a person what the prefix stands for.
    """
    groups = members(tuple_labels(codes[:, :depth]))
    groups.sort(key=len, reverse=True)  # A stable sort: equally large groups stay in order of their codes.
    typical = [
        rows[np.argsort(_distances_to_mean(code_space, rows), kind="stable")[:shown]].tolist() for rows in groups[:most]
    ]
    titles = iter(titles_of([row for rows in typical for row in rows]))
    return [
        {
            "prefix": "".join(split_tokens(semantic_id(codes[rows[0], :depth].tolist(), style))),
            "items": len(rows),
            "share": len(rows) / len(codes),
            "titles": [_short(next(titles)) for _ in chosen],
        }
        for rows, chosen in zip(groups, typical, strict=False)
    ]


def _distances_to_mean(code_space: VectorRows, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """(n,) squared distances of some rows to their mean, read block by block."""
    total = np.zeros(int(code_space.shape[1]))
    for part in residual_codes.blocks(len(rows)):
        # One row is added after the other, as if all were read at once: blocks do not change the sum.
        total = np.concatenate([total[None], np.asarray(code_space[rows[part]], dtype=np.float64)]).sum(axis=0)
    distances = np.empty(len(rows))
    for part in residual_codes.blocks(len(rows)):
        inside = np.asarray(code_space[rows[part]], dtype=np.float64)
        distances[part] = ((inside - total / len(rows)) ** 2).sum(axis=1)
    return distances


def _short(title: str, most: int = 60) -> str:
    line = title.split("\n")[0]
    return line if len(line) <= most else line[: most - 1] + "…"
