"""Temperatures and shares, against likelihoods computed from scratch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.special import log_softmax

from gti_cli.decoding.prior_bias import UNIFORM_SHARE
from gti_cli.priors.calibration import SHARES, TEMPERATURES, TargetProbabilities, calibrate, choose_shares
from tests.support.priors import random_sasrec

ITEMS = 12


def test_the_temperature_makes_held_out_targets_most_likely() -> None:
    prior = random_sasrec(ITEMS)
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, ITEMS, 3).tolist() for _ in range(300)]
    scores = prior.fitted.scores(histories)
    truth = np.exp(log_softmax(scores / 2, axis=1))
    targets = [int(rng.choice(ITEMS, p=row)) for row in truth]
    found = calibrate(prior, histories, targets)

    def likelihood(temperature: float) -> float:
        own = np.exp(log_softmax(scores / temperature, axis=1))[np.arange(300), targets]
        return float(np.log(UNIFORM_SHARE / ITEMS + (1 - UNIFORM_SHARE) * own).mean())

    assert found.temperature == max(TEMPERATURES, key=likelihood) > 1
    assert found.log_likelihood == pytest.approx(likelihood(found.temperature), rel=1e-9)
    assert found.untempered == pytest.approx(likelihood(1.0), rel=1e-9)
    ranks = (scores > scores[np.arange(300), targets][:, None]).sum(axis=1)
    assert found.ndcg == pytest.approx(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0).mean())
    assert found.targets == 300


def test_shares_make_held_out_targets_most_likely() -> None:
    rng = np.random.default_rng(1)
    first, second = (rng.dirichlet(np.full(ITEMS, 0.3), 400) for _ in range(2))
    first[::7] = 0  # Of these histories the first one knows nothing.
    targets = [
        int(rng.choice(ITEMS, p=0.3 * a + 0.7 * b if a.any() else b)) for a, b in zip(first, second, strict=True)
    ]
    measured = [
        # Masses in any unit.
        TargetProbabilities.measure(lambda a, b, masses=masses: sparse.csr_matrix(5 * masses[a:b]), targets)
        for masses in (first, second)
    ]
    assert (measured[0].knows == first.any(axis=1)).all()
    share, likelihood = choose_shares(*measured, ITEMS)

    def expected(share: float) -> float:
        mixed = np.where(first.any(axis=1, keepdims=True), share * first + (1 - share) * second, second)
        own = mixed[np.arange(400), targets]
        return float(np.log(UNIFORM_SHARE / ITEMS + (1 - UNIFORM_SHARE) * own).mean())

    assert share == max(SHARES, key=expected) and 0.1 < share < 0.5
    assert likelihood == pytest.approx(expected(share), rel=1e-9)
