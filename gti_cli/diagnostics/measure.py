"""The figures of a diagnosis, computed from arrays: `measure` gives all that `gti diagnose` prints about one matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.codebook_vectors import CodebookVectors
from gti_cli.geometry import spectrum
from gti_cli.geometry.blocks import block_cosines
from gti_cli.geometry.neighbours import nearest
from gti_cli.geometry.sampling import evenly
from gti_cli.geometry.significance import bootstrap_intervals, permutation_test
from gti_cli.geometry.similarity import MOST_PAIRS, centred_rows, mean_cosine, pearson, spearman, spearman_error

FloatMatrix = npt.NDArray[np.float32]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_COMPARED = 8192  # pretrained rows that are searched for the nearest row
_QUERIES = 2048  # pretrained rows whose own nearest neighbours are looked up, as the yardstick
_BLOCK = 1024  # pretrained rows whose cosines to all new rows are held at a time
_LEVEL_PAIRS = 1_000_000  # most pairs of codes of one level that Spearman's rho ranks


@dataclass(frozen=True)
class RowFigures:
    """The figures of one matrix.

    Attributes:
        figures: JSON values by name. None: the figure is undefined.
        singular_values: (k,) singular values of the new rows.
        pretrained_singular_values: (k,) singular values of the same number of pretrained rows.
    """

    figures: dict[str, Any]
    singular_values: npt.NDArray[np.float64]
    pretrained_singular_values: npt.NDArray[np.float64]


def measure(
    new: FloatMatrix,
    pretrained: FloatMatrix,
    codebook_vectors: CodebookVectors | None = None,
    *,
    levels: npt.NDArray[np.integer[Any]] | None = None,
    parents: npt.NDArray[np.integer[Any]] | None = None,
    seed: int = 0,
) -> RowFigures:
    """Compute all figures of one matrix.

    Args:
        new: (n, d). Rows of the new tokens.
        pretrained: (m, d). Rows of a sample of the pretrained tokens.
        codebook_vectors: The codebook vectors of those new tokens that are codes. None: there are no codebooks.
        levels: (n,). Level of each new token, -1 for tokens that are no codes.
        parents: (n,). The code that precedes each new token most often, -1 for none.
        seed: Seed of the permutation test, the bootstrap and sampled pairs.
    """
    figures: dict[str, Any] = {"tokens": len(new), "width": int(new.shape[1])}
    new_figures, values = shape_figures(new)
    # Rank grows with the number of rows, so the yardstick has as many pretrained rows as there are new rows.
    reference = pretrained[evenly(len(pretrained), len(new))]
    pretrained_figures, pretrained_values = shape_figures(reference)
    figures.update(new_figures)
    figures.update({f"pretrained_{name}": value for name, value in pretrained_figures.items()})
    figures["pretrained_tokens"] = len(reference)
    figures.update(neighbourhood(new, pretrained))
    figures.update(block_structure(new, levels, parents))
    figures.update(rsa_figures(new, codebook_vectors, seed))
    return RowFigures({name: _plain(value) for name, value in figures.items()}, values, pretrained_values)


def shape_figures(rows: FloatMatrix) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
    """Figures of the spectrum, the cosines and the norms of ``rows`` (n, d) by name, and their singular values."""
    values, centred = spectrum.both_spectra(rows)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    return {
        "effective_rank": spectrum.effective_rank(values),
        "effective_rank_centred": spectrum.effective_rank(centred),
        "stable_rank": spectrum.stable_rank(values),
        "participation_ratio": spectrum.participation_ratio(values),
        "energy_rank_90": spectrum.energy_rank(values, 0.9),
        "spectral_decay": spectrum.spectral_decay(values),
        "largest_singular_value": float(values[0]),
        "isotropy": spectrum.isotropy(rows),
        "mean_cosine": mean_cosine(rows),
        "norm_mean": float(norms.mean()),
        "norm_std": float(norms.std()),
    }, values


def neighbourhood(new: FloatMatrix, pretrained: FloatMatrix) -> dict[str, float]:
    """Quantiles of the cosine of a row to its nearest pretrained row, which tell how near new rows lie to these.

    ``nearest_pretrained_cosine_*`` is of the new rows. ``pretrained_nearest_cosine_*`` is the yardstick: the same of
    pretrained rows, each compared with all others but itself. At most `MOST_COMPARED` pretrained rows are searched.

    Args:
        new: (n, d). Rows of the new tokens.
        pretrained: (m, d). Rows of a sample of the pretrained tokens.
    """
    pretrained = pretrained[evenly(len(pretrained), MOST_COMPARED)]
    ids = np.arange(len(pretrained))
    blocks = [(ids[start : start + _BLOCK], pretrained[start : start + _BLOCK]) for start in range(0, len(ids), _BLOCK)]
    new_cosines = nearest(new, blocks, 1).cosines[:, 0]
    queries = evenly(len(pretrained), _QUERIES)
    two = nearest(pretrained[queries], blocks, 2)
    # The row itself comes first, or second behind an equal row with a smaller id. The other of the two is its
    # neighbour.
    pretrained_cosines = np.where(two.ids[:, 0] == queries, two.cosines[:, 1], two.cosines[:, 0])
    figures = {}
    named = (("nearest_pretrained_cosine", new_cosines), ("pretrained_nearest_cosine", pretrained_cosines))
    for name, cosines in named:
        for q in QUANTILES:
            figures[f"{name}_q{round(100 * q):02d}"] = float(np.quantile(cosines, q))
    return figures


def block_structure(
    new: FloatMatrix, levels: npt.NDArray[np.integer[Any]] | None, parents: npt.NDArray[np.integer[Any]] | None
) -> dict[str, float | None]:
    """Compare cosines within and between levels, and within a level within and between parents.

    ``level_contrast`` is the mean cosine of tokens of the same level less that of tokens of different levels.
    ``parent_contrast`` compares tokens of the same level only: the mean cosine of tokens with the same parent less that
    of tokens with different parents, over the pairs of all levels.

    Args:
        new: (n, d). Rows of the new tokens.
        levels: (n,). Level of each, -1 for tokens that are no codes.
        parents: (n,). Parent of each, -1 for none.
    """
    figures: dict[str, float | None] = {}
    if levels is not None and len(set(levels[levels >= 0].tolist())) > 1:
        means = block_cosines(new[levels >= 0], levels[levels >= 0])
        figures.update(level_within_cosine=means.within, level_between_cosine=means.between)
        figures["level_contrast"] = means.contrast
    if levels is None or parents is None:
        return figures
    # Sum of cosines and number of pairs over all levels, so that every pair counts the same.
    totals = {"within": [0.0, 0.0], "between": [0.0, 0.0]}
    for level in sorted(set(levels[parents >= 0].tolist())):
        rows = np.flatnonzero((levels == level) & (parents >= 0))
        means = block_cosines(new[rows], parents[rows])
        sizes = np.bincount(parents[rows]).astype(np.float64)
        pairs_within = float(np.sum(sizes * (sizes - 1)))
        pairs_between = len(rows) * (len(rows) - 1) - pairs_within
        for name, mean, pairs in (("within", means.within, pairs_within), ("between", means.between, pairs_between)):
            if pairs:
                totals[name][0] += mean * pairs
                totals[name][1] += pairs
    if totals["within"][1] and totals["between"][1]:
        within, between = (totals[name][0] / totals[name][1] for name in ("within", "between"))
        figures.update(parent_within_cosine=within, parent_between_cosine=between, parent_contrast=within - between)
    return figures


def rsa_figures(new: FloatMatrix, codebook_vectors: CodebookVectors | None, seed: int = 0) -> dict[str, Any]:
    """RSA of new rows with codebook vectors, over all codes, as the paper does, and within each level.

    Codes of different levels live in different residual spaces. The figure over all codes therefore also measures how
    rows of different levels relate, and the figures by level do not. The permutation test of the figure over all codes
    permutes codes within their level only, so that a difference between levels alone is no evidence.

    Args:
        new: (n, d). Rows of the new tokens.
        codebook_vectors: The codebook vectors of those new tokens that are codes. None: there are no codebooks.
        seed: Seed of the permutation test, the bootstrap and sampled pairs.
    """
    figures: dict[str, Any] = {f"rsa_{name}": None for name in _RSA}
    figures.update(rsa_tokens=0, rsa_levels={})
    if codebook_vectors is None:
        return figures
    figures["rsa_tokens"] = len(codebook_vectors.rows)
    matrix = codebook_vectors.matrix()
    if matrix is not None and len(matrix) >= 3:
        overall = _rsa(new[codebook_vectors.rows], matrix, codebook_vectors.levels, seed, MOST_PAIRS)
        figures.update({f"rsa_{name}": value for name, value in overall.items()})
    for level, (rows, vectors) in codebook_vectors.by_level().items():
        if len(rows) >= 3:
            of_level = _rsa(new[rows], vectors, None, seed, _LEVEL_PAIRS)
            of_level.update(_centred_rsa(new[rows], vectors, seed))
            figures["rsa_levels"][str(level)] = {"tokens": len(rows), **of_level}
    return figures


# Names of the values that `_rsa` computes, in its order.
_RSA = (
    "pearson",
    "spearman",
    "spearman_error",
    "p",
    "spearman_p",
    "permutations",
    "permuted",
    "pearson_interval",
    "spearman_interval",
)


def _rsa(
    a: FloatMatrix, b: FloatMatrix, groups: npt.NDArray[np.int32] | None, seed: int, most_pairs: int
) -> dict[str, Any]:
    """Correlations of the cosines among ``a`` (n, d) and among ``b`` (n, d'), with p-values and intervals."""
    rho = spearman(a, b, most_pairs=most_pairs, seed=seed)
    test = permutation_test(a, b, groups, seed=seed)
    intervals = bootstrap_intervals(a, b, seed=seed)
    ends = [None if math.isnan(interval.low) else list(interval) for interval in intervals]
    error = spearman_error(len(a), rho, most_pairs=most_pairs)
    values = (pearson(a, b), rho, error, *test, *ends)
    return {name: _plain(value) for name, value in zip(_RSA, values, strict=True)}


def _centred_rsa(a: FloatMatrix, b: FloatMatrix, seed: int) -> dict[str, Any]:
    """RSA of one level, the mean row subtracted on both sides.

    All rows of a vocabulary share a large component. Their cosines differ mostly by how large it is in each row.
    Without the mean, the cosines depend on the components in which the codes differ.
    """
    left, right = centred_rows(a), centred_rows(b)
    test = permutation_test(left, right, seed=seed)
    return {"centred_pearson": _plain(pearson(left, right)), "centred_p": _plain(test.pearson_p)}


def _plain(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
