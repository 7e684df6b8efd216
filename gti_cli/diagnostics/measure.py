"""Every figure of a diagnosis, from arrays: what `gti diagnose` computes, for use from Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.diagnostics.codebooks import Oracle
from gti_cli.geometry import spectrum
from gti_cli.geometry.neighbours import nearest
from gti_cli.geometry.sampling import evenly
from gti_cli.geometry.similarity import mean_cosine, rsa

Rows = npt.NDArray[np.float32]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_QUERIES = 2048  # pretrained rows whose own nearest neighbours are looked up, as the yardstick


def measure(new: Rows, pretrained: Rows, oracle: Oracle | None = None) -> dict[str, Any]:
    """All figures of one matrix: JSON values only, None for what does not exist.

    Args:
        new: (n, d) rows of the new tokens. pretrained: (m, d) rows of a sample of the pretrained tokens.
        oracle: codebook vectors of the new tokens that are codes.
    """
    figures: dict[str, Any] = {"tokens": len(new), "width": int(new.shape[1])}
    figures.update(shape_of(new))
    reference = pretrained[evenly(len(pretrained), len(new))]
    for name, value in shape_of(reference).items():
        figures[f"pretrained_{name}"] = value
    figures["pretrained_tokens"] = len(reference)
    figures.update(neighbourhood(new, pretrained))
    figures.update(agreement(new, oracle))
    return {name: _plain(value) for name, value in figures.items()}


def shape_of(rows: Rows) -> dict[str, float]:
    """Spectrum, cosines and norms of ``rows`` (n, d) by name."""
    values = spectrum.singular_values(rows)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    return {
        "effective_rank": spectrum.effective_rank(values),
        "effective_rank_centred": spectrum.effective_rank(rows, centred=True),
        "stable_rank": spectrum.stable_rank(values),
        "participation_ratio": spectrum.participation_ratio(values),
        "energy_rank_90": spectrum.energy_rank(values, 0.9),
        "spectral_decay": spectrum.spectral_decay(values),
        "largest_singular_value": float(values[0]),
        "mean_cosine": mean_cosine(rows),
        "norm_mean": float(norms.mean()),
        "norm_std": float(norms.std()),
    }


def neighbourhood(new: Rows, pretrained: Rows) -> dict[str, float]:
    """How near new rows lie to the pretrained ones: quantiles of the cosine to the nearest of the sample.

    ``pretrained_nearest_*`` is the yardstick: the same for pretrained rows among themselves, each leaving itself out.
    """
    block = [(np.arange(len(pretrained)), pretrained)]
    to_pretrained = nearest(new, block, 1).cosines[:, 0]
    queries = evenly(len(pretrained), _QUERIES)
    found = nearest(pretrained[queries], block, 2)
    # The row itself comes first, unless an equal row with a smaller id does: take whichever is not itself.
    among = np.where(found.ids[:, 0] == queries, found.cosines[:, 1], found.cosines[:, 0])
    figures = {}
    for name, cosines in (("nearest_pretrained_cosine", to_pretrained), ("pretrained_nearest_cosine", among)):
        for q in QUANTILES:
            figures[f"{name}_q{round(100 * q):02d}"] = float(np.quantile(cosines, q))
    return figures


def agreement(new: Rows, oracle: Oracle | None) -> dict[str, Any]:
    """RSA of new rows with codebook vectors: over all code tokens, as the paper does, and within each level.

    Codes of different levels live in different residual spaces, so that the figure over all levels also counts how
    rows of different levels relate; the figures by level do not.
    """
    matrix = None if oracle is None else oracle.matrix()
    figures: dict[str, Any] = {"rsa_pearson": None, "rsa_spearman": None, "rsa_tokens": 0, "rsa_levels": {}}
    if oracle is None:
        return figures
    figures["rsa_tokens"] = len(oracle.rows)
    if matrix is not None and len(matrix) >= 3:
        overall = rsa(new[oracle.rows], matrix)
        figures["rsa_pearson"], figures["rsa_spearman"] = _plain(overall.pearson), _plain(overall.spearman)
    for level, (rows, vectors) in oracle.by_level().items():
        if len(rows) >= 3:
            found = rsa(new[rows], vectors)
            figures["rsa_levels"][str(level)] = {
                "tokens": len(rows),
                "pearson": _plain(found.pearson),
                "spearman": _plain(found.spearman),
            }
    return figures


def _plain(value: Any) -> Any:
    """NaN as None, which JSON can hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
