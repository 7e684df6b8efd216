"""Representational similarity analysis in one call, for tests."""

from typing import NamedTuple

import numpy as np

from gti_cli.geometry.similarity import pearson, spearman


class Correlation(NamedTuple):
    pearson: float
    spearman: float


def rsa(a: np.ndarray, b: np.ndarray) -> Correlation:
    """Both correlations between the cosines among ``a`` (n, d) and those among ``b`` (n, d')."""
    return Correlation(pearson(a, b), spearman(a, b))
