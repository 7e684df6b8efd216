"""The three forms, against their formulas entry by entry."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gti_cli.blends.mixing import CONTEXTUAL, MIXTURE, PRODUCT, Mixing, find_contexts

RNG = np.random.default_rng(0)
LOG_PROBABILITIES = np.log(RNG.random((2, 7)))
CONTEXTS = find_contexts(np.array([1, 2, 3, 5, 6, 21, 20]), np.array([0, 1, 4, 5, 19, 100, 99]))
MIXINGS = {
    MIXTURE: Mixing.plain(MIXTURE, np.array([0.3, 0.7])),
    PRODUCT: Mixing.plain(PRODUCT, np.array([0.3, 0.7])),
    CONTEXTUAL: Mixing(CONTEXTUAL, np.array([0.3, 0.7]), RNG.random((2, 5)), RNG.random((2, 5)), RNG.random(5)),
}


def test_bins_are_closed_above():
    assert CONTEXTS.history.tolist() == [0, 0, 1, 1, 2, 4, 3]
    assert CONTEXTS.item.tolist() == [0, 1, 1, 2, 2, 4, 3]


def test_scores_of_each_form():
    first, second = LOG_PROBABILITIES
    np.testing.assert_allclose(
        MIXINGS[MIXTURE].scores(LOG_PROBABILITIES, CONTEXTS), np.log(0.3 * np.exp(first) + 0.7 * np.exp(second))
    )
    np.testing.assert_allclose(MIXINGS[PRODUCT].scores(LOG_PROBABILITIES, CONTEXTS), 0.3 * first + 0.7 * second)
    mixing = MIXINGS[CONTEXTUAL]
    expected = [
        sum(
            (mixing.weights[m] + mixing.history_weights[m, h] + mixing.item_weights[m, i]) * LOG_PROBABILITIES[m, n]
            for m in range(2)
        )
        + mixing.item_bias[i]
        for n, (h, i) in enumerate(zip(CONTEXTS.history, CONTEXTS.item, strict=True))
    ]
    np.testing.assert_allclose(mixing.scores(LOG_PROBABILITIES, CONTEXTS), expected)


@pytest.mark.parametrize("form", MIXINGS)
def test_json_keeps_every_bit(form):
    read = Mixing.from_json(json.loads(json.dumps(MIXINGS[form].as_json())))
    expected, actual = (mixing.scores(LOG_PROBABILITIES, CONTEXTS) for mixing in (MIXINGS[form], read))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("change", [{"form": "sum"}, {"item_ends": [1, 2]}])
def test_a_form_of_another_version_is_refused(change):
    with pytest.raises(ValueError, match="unknown form"):
        Mixing.from_json({**MIXINGS[CONTEXTUAL].as_json(), **change})


def test_mean_weights_over_candidates():
    assert MIXINGS[PRODUCT].mean_weights(CONTEXTS).tolist() == [0.3, 0.7]
    mixing = MIXINGS[CONTEXTUAL]
    pairs = list(zip(CONTEXTS.history, CONTEXTS.item, strict=True))
    expected = [
        np.mean([mixing.weights[m] + mixing.history_weights[m, h] + mixing.item_weights[m, i] for h, i in pairs])
        for m in range(2)
    ]
    np.testing.assert_allclose(mixing.mean_weights(CONTEXTS), expected)
