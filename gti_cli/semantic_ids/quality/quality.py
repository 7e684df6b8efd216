"""How good semantic IDs are: use of the codes, collisions, what of the embeddings they keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.semantic_ids.groups import tuple_labels
from gti_cli.semantic_ids.quantizers import residuals
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
Decoder = Callable[[Codes, int], Vectors]


def level_use(codes: npt.NDArray[np.integer[Any]], size: int) -> dict[str, float | int]:
    """How the items of one level (N,) spread over its ``size`` codes.

    Returns:
        ``codes`` (size), ``used`` (codes with an item), ``use`` (their share), ``entropy`` of the distribution in bits
        and ``perplexity`` = 2 ** entropy (the number of evenly used codes that would be as spread).
    """
    share = np.bincount(codes, minlength=size) / len(codes)
    share = share[share > 0]
    entropy = abs(float(-(share * np.log2(share)).sum()))
    return {
        "codes": size,
        "used": len(share),
        "use": len(share) / size,
        "entropy": entropy,
        "perplexity": float(2**entropy),
    }


def collision_figures(codes: Codes) -> dict[str, float | int]:
    """Collisions among N items' codes (N, L).

    Returns:
        ``distinct`` tuples; ``rate`` = (N - distinct) / N as LC-Rec counts; ``items`` that share a tuple with another;
        ``largest`` group.
    """
    group = np.bincount(tuple_labels(codes))
    return {
        "distinct": len(group),
        "rate": (len(codes) - len(group)) / len(codes),
        "items": int(group[group > 1].sum()),
        "largest": int(group.max()),
    }


def reconstruction(vectors: VectorRows, codes: Codes, levels: int, decode: Decoder) -> list[dict[str, float]]:
    """What is kept of the embeddings after 1, 2, … ``levels`` levels.

    Args:
        vectors: (N, d). codes: (N, L). decode: (codes, number of levels) -> embeddings (n, d).

    Returns:
        For each level ``error`` (mean over items of the squared distance between embedding and reconstruction) and
        ``explained_variance`` (1 - error / mean squared distance to the mean embedding; 0 where that is 0).
    """
    mean = np.zeros(vectors.shape[1], dtype=np.float64)
    for part in residuals.blocks(len(vectors)):
        mean += np.asarray(vectors[part], dtype=np.float64).sum(axis=0)
    mean /= len(vectors)
    total, errors = 0.0, np.zeros(levels)
    for part in residuals.blocks(len(vectors)):
        block = np.asarray(vectors[part], dtype=np.float32)
        total += _sum_of_squares(block - mean)
        for level in range(levels):
            errors[level] += _sum_of_squares(block - decode(codes[part], level + 1))
    return [
        {
            "error": float(error / len(vectors)),
            "explained_variance": float(1 - error / total) if total > 0 else 0.0,
        }
        for error in errors
    ]


def _sum_of_squares(block: npt.NDArray[np.floating[Any]]) -> float:
    return float(np.einsum("nd,nd->", block, block, dtype=np.float64))


def level_report(codes: Codes, sizes: Sequence[int], kept: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """One entry a level: `level_use` and, for levels that have one, the entry of `reconstruction`."""
    return [
        {"level": level, **level_use(codes[:, level], size), **(kept[level] if level < len(kept) else {})}
        for level, size in enumerate(sizes)
    ]
