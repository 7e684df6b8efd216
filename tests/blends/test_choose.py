"""The choice of a form by cross-fitting."""

from __future__ import annotations

import numpy as np

import gti_cli.blends.choose as choose_module
from gti_cli.blends.candidate_table import Candidates
from gti_cli.blends.choose import AVERAGED, FORMS, _preferred, choose
from gti_cli.blends.contextual_fit import average_with_product, fit_contextual
from gti_cli.blends.mixing import CONTEXTUAL, MIXTURE, PRODUCT, find_contexts
from gti_cli.blends.weight_search import HeldOut, search_weights


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


def test_the_preferred_form_is_fitted_to_all_users_and_the_count_is_kept():
    held_out = noise()
    choice = choose(held_out)
    assert list(choice.by_form) == list(FORMS) and choice.form == AVERAGED  # nothing tells the forms apart
    assert choice.cross_fitted.mean() == choice.by_form[choice.form]
    assert choice.report()["form"] == choice.form and choice.report()["settings_tried"] == choice.tried > 3
    again = choose(held_out)
    np.testing.assert_array_equal(again.mixing.weights, choice.mixing.weights)
    assert choose(held_out, forms=[PRODUCT]).mixing.form == PRODUCT
    # The final weights are those of all users.
    product = search_weights(held_out, PRODUCT).mixing
    expected = average_with_product(fit_contextual(held_out), product, held_out)
    np.testing.assert_array_equal(choice.mixing.weights, expected.weights)
    assert choice.mixing.form == CONTEXTUAL


def test_a_form_is_passed_over_for_more_than_its_sampling_error():
    rng = np.random.default_rng(3)
    best = rng.random(400)
    noisy = best - 0.01 + rng.normal(size=400)  # a hundredth less, and a standard error of a twentieth
    worse = best - 0.01 + rng.normal(size=400) / 100
    own = np.arange(400)
    assert _preferred({"noisy": noisy, "best": best}, own) == "noisy"
    assert _preferred({"worse": worse, "best": best}, own) == "best"
    assert _preferred({"best": best, "noisy": noisy}, own) == "best"
    assert _preferred({"one": best, "same": best}, own) == "one"
    # Two hundred targets each of two users, who differ: the same losses, and users hardly tell.
    ordered = best - np.sort(best - worse)
    assert _preferred({"worse": ordered, "best": best}, own) == "best"
    assert _preferred({"worse": ordered, "best": best}, own // 200) == "worse"


def test_all_targets_of_a_user_are_in_one_fold(monkeypatch):
    held_out, seen = noise(), []
    users = [f"user {number // 3}" for number in range(60)]
    fit = choose_module._fit
    monkeypatch.setattr(choose_module, "_fit", lambda held, forms: seen.append(held) or fit(held, forms))
    choice = choose(held_out, users=users, forms=[PRODUCT])
    every = [
        [tuple(held.log_probabilities[0][first : first + 3]) for first in held.candidates.offsets[:-1]] for held in seen
    ]
    number_of = {start: number for number, start in enumerate(every[2])}
    folds = [{users[number_of[start]] for start in starts} for starts in every[:2]]
    assert not folds[0] & folds[1] and len(folds[0] | folds[1]) == 20 and len(folds[0]) == 10
    # Users of one target each are divided as before; and one user alone is divided by targets.
    alone = choose(held_out, users=[str(number) for number in range(60)], forms=[PRODUCT])
    np.testing.assert_array_equal(alone.cross_fitted, choose(held_out, forms=[PRODUCT]).cross_fitted)
    one = choose(held_out, users=["one"] * 60, forms=[PRODUCT])
    np.testing.assert_array_equal(one.cross_fitted, alone.cross_fitted)
    assert not np.array_equal(choice.cross_fitted, alone.cross_fitted)


def test_a_mixture_is_taken_where_it_is_clearly_better():
    rng = np.random.default_rng(5)
    users, size = 600, 40
    candidates = Candidates(np.arange(users + 1) * size, np.tile(np.arange(size), users))
    targets = rng.integers(0, size, users)
    # One of the two is sure of the target, to the other it is impossible, as many other items are to both.
    log_probabilities = np.log(rng.choice([1e-9, 1e-3, 0.05], size=(2, users, size)))
    knows = rng.integers(0, 2, users)
    log_probabilities[knows, np.arange(users), targets] = np.log(0.9)
    log_probabilities[1 - knows, np.arange(users), targets] = np.log(1e-9)
    contexts = find_contexts(np.full(users * size, 3), np.full(users * size, 3))
    held_out = HeldOut(candidates, log_probabilities.reshape(2, -1), contexts, targets + candidates.offsets[:-1])
    choice = choose(held_out)
    assert choice.form == MIXTURE and choice.by_form[MIXTURE] > choice.by_form[AVERAGED] + 0.1
