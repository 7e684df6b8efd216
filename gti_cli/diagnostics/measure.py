"""Every figure of a diagnosis, from arrays: what `gti diagnose` computes, for use from Python."""

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

Rows = npt.NDArray[np.float32]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_COMPARED = 8192  # pretrained rows among which the nearest is looked for
_QUERIES = 2048  # pretrained rows whose own nearest neighbours are looked up, as the yardstick
_BLOCK = 1024  # pretrained rows whose cosines to all new rows are held at a time
_LEVEL_PAIRS = 1_000_000  # of pairs that are ranked within one level


@dataclass(frozen=True)
class Measured:
    """What `measure` found.

    Attributes:
        figures: JSON values by name, None for what does not exist.
        values, pretrained_values: (k,) singular values of the new rows and of as many pretrained ones.
    """

    figures: dict[str, Any]
    values: npt.NDArray[np.float64]
    pretrained_values: npt.NDArray[np.float64]


def measure(
    new: Rows,
    pretrained: Rows,
    oracle: CodebookVectors | None = None,
    *,
    levels: npt.NDArray[np.integer[Any]] | None = None,
    parents: npt.NDArray[np.integer[Any]] | None = None,
    seed: int = 0,
) -> Measured:
    """All figures of one matrix.

    Args:
        new: (n, d) rows of the new tokens. pretrained: (m, d) rows of a sample of the pretrained tokens.
        oracle: codebook vectors of the new tokens that are codes.
        levels: (n,) level of each new token, -1 for none. parents: (n,) the code that comes before it, -1 for none.
        seed: of the permutation test, the bootstrap and sampled pairs.
    """
    figures: dict[str, Any] = {"tokens": len(new), "width": int(new.shape[1])}
    ours, values = shape_of(new)
    reference = pretrained[evenly(len(pretrained), len(new))]
    theirs, pretrained_values = shape_of(reference)
    figures.update(ours)
    figures.update({f"pretrained_{name}": value for name, value in theirs.items()})
    figures["pretrained_tokens"] = len(reference)
    figures.update(neighbourhood(new, pretrained))
    figures.update(block_structure(new, levels, parents))
    figures.update(agreement(new, oracle, seed))
    return Measured({name: _plain(value) for name, value in figures.items()}, values, pretrained_values)


def shape_of(rows: Rows) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
    """Spectrum, cosines and norms of ``rows`` (n, d) by name, and their singular values."""
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


def neighbourhood(new: Rows, pretrained: Rows) -> dict[str, float]:
    """How near new rows lie to the pretrained ones: quantiles of the cosine to the nearest of the sample.

    ``pretrained_nearest_*`` is the yardstick: the same for pretrained rows among themselves, each leaving itself out.
    At most `MOST_COMPARED` pretrained rows are compared, for both.
    """
    pretrained = pretrained[evenly(len(pretrained), MOST_COMPARED)]
    ids = np.arange(len(pretrained))
    block = [(ids[at : at + _BLOCK], pretrained[at : at + _BLOCK]) for at in range(0, len(ids), _BLOCK)]
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


def block_structure(
    new: Rows, levels: npt.NDArray[np.integer[Any]] | None, parents: npt.NDArray[np.integer[Any]] | None
) -> dict[str, float | None]:
    """Are tokens of one level, and within a level tokens with the same parent, more alike than others?

    ``level_contrast``: mean cosine within levels less that between them. ``parent_contrast``: mean cosine of tokens of
    one level with the same parent less that of tokens of one level with other parents, pairs of all levels together.
    """
    figures: dict[str, float | None] = {}
    if levels is not None and len(set(levels[levels >= 0].tolist())) > 1:
        found = block_cosines(new[levels >= 0], levels[levels >= 0])
        figures.update(level_within_cosine=found.within, level_between_cosine=found.between)
        figures["level_contrast"] = found.contrast
    if levels is None or parents is None:
        return figures
    totals = {"within": [0.0, 0.0], "between": [0.0, 0.0]}
    for level in sorted(set(levels[parents >= 0].tolist())):
        here = np.flatnonzero((levels == level) & (parents >= 0))
        found = block_cosines(new[here], parents[here])
        sizes = np.bincount(parents[here]).astype(np.float64)
        within = float(np.sum(sizes * (sizes - 1)))
        between = len(here) * (len(here) - 1) - within
        for name, mean, pairs in (("within", found.within, within), ("between", found.between, between)):
            if pairs:
                totals[name][0] += mean * pairs
                totals[name][1] += pairs
    if totals["within"][1] and totals["between"][1]:
        inside, outside = (totals[name][0] / totals[name][1] for name in ("within", "between"))
        figures.update(parent_within_cosine=inside, parent_between_cosine=outside, parent_contrast=inside - outside)
    return figures


def agreement(new: Rows, oracle: CodebookVectors | None, seed: int = 0) -> dict[str, Any]:
    """RSA of new rows with codebook vectors: over all code tokens, as the paper does, and within each level.

    Codes of different levels live in different residual spaces, so that the figure over all levels also counts how
    rows of different levels relate; the figures by level do not, and the permutation test of the figure over all
    levels moves codes within their level only.
    """
    figures: dict[str, Any] = {f"rsa_{name}": None for name in _RSA}
    figures.update(rsa_tokens=0, rsa_levels={})
    if oracle is None:
        return figures
    figures["rsa_tokens"] = len(oracle.rows)
    matrix = oracle.matrix()
    if matrix is not None and len(matrix) >= 3:
        found = _rsa(new[oracle.rows], matrix, oracle.levels, seed, MOST_PAIRS)
        figures.update({f"rsa_{name}": value for name, value in found.items()})
    for level, (rows, vectors) in oracle.by_level().items():
        if len(rows) >= 3:
            found = _rsa(new[rows], vectors, None, seed, _LEVEL_PAIRS)
            found.update(_centred_rsa(new[rows], vectors, seed))
            figures["rsa_levels"][str(level)] = {"tokens": len(rows), **found}
    return figures


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


def _rsa(a: Rows, b: Rows, groups: npt.NDArray[np.int32] | None, seed: int, most_pairs: int) -> dict[str, Any]:
    rho = spearman(a, b, most_pairs=most_pairs, seed=seed)
    test = permutation_test(a, b, groups, seed=seed)
    intervals = bootstrap_intervals(a, b, seed=seed)
    pairs = [None if math.isnan(interval.low) else list(interval) for interval in intervals]
    error = spearman_error(len(a), rho, most_pairs=most_pairs)
    values = (pearson(a, b), rho, error, *test, *pairs)
    return {name: _plain(value) for name, value in zip(_RSA, values, strict=True)}


def _centred_rsa(a: Rows, b: Rows, seed: int) -> dict[str, Any]:
    """RSA of one level with its mean row taken off both sides.

    Rows that share a large part (as all rows of a vocabulary do) differ in cosine mostly by how much of it each has;
    without it, the cosines are those of what tells the codes apart.
    """
    left, right = centred_rows(a), centred_rows(b)
    test = permutation_test(left, right, seed=seed)
    return {"centred_pearson": _plain(pearson(left, right)), "centred_p": _plain(test.pearson)}


def _plain(value: Any) -> Any:
    """NaN as None, which JSON can hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
