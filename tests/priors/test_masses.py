"""Masses that are computed when they are asked for."""

from __future__ import annotations

import numpy as np

from gti_cli.priors.masses import HistoryMasses
from tests.support.priors import random_sasrec


def test_masses_of_some_histories():
    prior = random_sasrec(12)
    histories = [[1], [2, 3], [4], [5, 1, 2]]
    some = HistoryMasses(prior, histories)[[3, 0]].toarray()
    np.testing.assert_allclose(some, prior.masses(histories).toarray()[[3, 0]], rtol=1e-5)
