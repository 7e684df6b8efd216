"""The choice of a form by cross-fitting."""

from __future__ import annotations

import numpy as np

from gti_cli.blends.candidate_table import Candidates
from gti_cli.blends.choose import choose
from gti_cli.blends.mixing import CONTEXTUAL, PRODUCT, find_contexts
from gti_cli.blends.weight_search import HeldOut


def noise(users: int = 60, size: int = 40) -> HeldOut:
    """Recommenders that know nothing: whatever fits them better does so by chance."""
    rng = np.random.default_rng(0)
    candidates = Candidates(np.arange(users + 1) * size, np.tile(np.arange(size), users))
    contexts = find_contexts(rng.integers(1, 40, users * size), rng.integers(0, 200, users * size))
    targets = rng.integers(0, size, users) + candidates.offsets[:-1]
    return HeldOut(candidates, rng.normal(size=(3, users * size)), contexts, targets)


def test_what_fits_by_chance_is_not_what_is_reported():
    held_out = noise()
    choice = choose(held_out, forms=[CONTEXTUAL])
    by_chance = held_out.ndcg(choice.mixing).mean()
    # Under chance, NDCG@10 of 40 candidates is .114.
    assert by_chance > 0.2 > 0.16 > choice.cross_fitted.mean()


def test_the_best_form_is_fitted_to_all_users_and_the_count_is_kept():
    held_out = noise()
    choice = choose(held_out)
    assert choice.mixing.form == max(choice.by_form, key=choice.by_form.__getitem__)
    assert choice.cross_fitted.mean() == choice.by_form[choice.mixing.form]
    assert choice.report()["settings_tried"] == choice.tried > 3
    again = choose(held_out)
    np.testing.assert_array_equal(again.mixing.weights, choice.mixing.weights)
    assert choose(held_out, forms=[PRODUCT]).mixing.form == PRODUCT
