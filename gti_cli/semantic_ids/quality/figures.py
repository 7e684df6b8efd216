"""Figures of quality: use of the codes, collisions, reconstruction of the embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.semantic_ids.groups import tuple_labels
from gti_cli.semantic_ids.quantizers import residual_codes
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
Decoder = Callable[[Codes, int], Vectors]


def level_use(codes: npt.NDArray[np.integer[Any]], size: int) -> dict[str, float | int]:
    """Measure how evenly items use the codes of one level.

    Args:
        codes: (N,) the code of each item in this level.
        size: The number of codes of the level.

    Returns:
        ``codes`` (``size``), ``used`` (codes with an item), ``use`` (their share), ``entropy`` of the distribution in
        bits and ``perplexity`` = 2 ** entropy (the number of evenly used codes with the same entropy).
    """
    share = np.bincount(codes, minlength=size) / len(codes)
    share = share[share > 0]
    # abs: the entropy of a single code would be -0.0.
    entropy = abs(float(-(share * np.log2(share)).sum()))
    return {
        "codes": size,
        "used": len(share),
        "use": len(share) / size,
        "entropy": entropy,
        "perplexity": float(2**entropy),
    }


def collision_figures(codes: Codes) -> dict[str, float | int]:
    """Count the collisions among items' codes (N, L).

    Returns:
        ``distinct``: the number of different tuples; ``rate`` = (N - distinct) / N, as LC-Rec counts; ``items``: how
        many share a tuple with another item; ``largest``: the most items of one tuple.
    """
    group = np.bincount(tuple_labels(codes))
    return {
        "distinct": len(group),
        "rate": (len(codes) - len(group)) / len(codes),
        "items": int(group[group > 1].sum()),
        "largest": int(group.max()),
    }


def reconstruction(
    vectors: VectorRows, codes: Codes, levels: int, decode: Decoder, first: int = 1
) -> list[dict[str, float]]:
    """Measure how well the first 1, 2, … ``levels`` codes reconstruct the embeddings.

    Args:
        vectors: (N, d), read block by block.
        codes: (N, L).
        levels: The largest number of levels to decode.
        decode: Function of codes (n, L) and a number of levels that returns embeddings (n, d).
        first: The smallest number of levels to decode.

    Returns:
        For each number of levels ``error`` (mean over items of the squared distance between embedding and
        reconstruction) and ``explained_variance`` (1 - error / mean squared distance to the mean embedding; 0 where
        that is 0).
    """
    mean = np.zeros(vectors.shape[1], dtype=np.float64)
    for part in residual_codes.blocks(len(vectors)):
        mean += np.asarray(vectors[part], dtype=np.float64).sum(axis=0)
    mean /= len(vectors)
    total, errors = 0.0, np.zeros(levels + 1 - first)
    for part in residual_codes.blocks(len(vectors)):
        block = np.asarray(vectors[part], dtype=np.float32)
        total += _sum_of_squares(block - mean)
        for level in range(first, levels + 1):
            errors[level - first] += _sum_of_squares(block - decode(codes[part], level))
    return [
        {
            "error": float(error / len(vectors)),
            "explained_variance": float(1 - error / total) if total > 0 else 0.0,
        }
        for error in errors
    ]


def _sum_of_squares(block: npt.NDArray[np.floating[Any]]) -> float:
    return float(np.einsum("nd,nd->", block, block, dtype=np.float64))


def level_report(
    codes: Codes, sizes: Sequence[int], reconstructions: Sequence[dict[str, float]]
) -> list[dict[str, Any]]:
    """One entry for each level: the figures of `level_use` and of `reconstruction`.

    Args:
        codes: (N, L).
        sizes: The number of codes of each of the L levels.
        reconstructions: Result of `reconstruction`; a suffix level has no entry in it.
    """
    return [
        {
            "level": level,
            **level_use(codes[:, level], size),
            **(reconstructions[level] if level < len(reconstructions) else {}),
        }
        for level, size in enumerate(sizes)
    ]
