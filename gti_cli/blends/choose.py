"""Chooses the form and the weights of a blend on held-out targets.

A form with more freedom fits held-out targets better by chance. So forms are compared by *cross-fitting*: the users are
divided into folds, the weights for each fold are found on the other folds, and NDCG is measured on the fold.

Some thousand targets seldom tell forms apart. So it is not simply the best form that is taken, but the first of `FORMS`
whose NDCG is not lower than the best by more than the sampling error. It gets its final weights from all users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.blends.contextual_fit import average_with_product, fit_contextual
from gti_cli.blends.mixing import CONTEXTUAL, MIXTURE, PRODUCT, Mixing
from gti_cli.blends.weight_search import CUT_OFF, HeldOut, search_weights

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FOLDS = 2
# A contextual product whose weights are drawn halfway towards those of the product. The weights of the one make targets
# likely, those of the other lead to a high NDCG: they err differently.
AVERAGED = "averaged product"
FORMS = (AVERAGED, CONTEXTUAL, PRODUCT, MIXTURE)  # the preferred one first
STANDARD_ERRORS = 2.0  # A paired difference of fewer is within the sampling error.


@dataclass(frozen=True)
class Choice:
    """The chosen form and weights.

    Attributes:
        form: One of `FORMS`; an averaged product is applied as the contextual product that it is.
        mixing: Form and weights, found on all users.
        cross_fitted: (U,) NDCG@10 of each held-out target under weights that were found without its user.
        by_form: Mean cross-fitted NDCG@10 of each form.
        tried: Number of settings that were tried in all.
        complete: Whether every search ended by itself.
    """

    form: str
    mixing: Mixing
    cross_fitted: Floats
    by_form: dict[str, float]
    tried: int
    complete: bool

    def report(self) -> dict[str, Any]:
        """The outcome as the manifest has it."""
        return {
            **self.mixing.as_json(),
            "form": self.form,
            f"ndcg@{CUT_OFF}_cross_fitted": float(self.cross_fitted.mean()),
            "forms": self.by_form,
            "settings_tried": self.tried,
            "search_complete": self.complete,
        }


def choose(
    held_out: HeldOut, *, users: Sequence[str] | None = None, forms: Sequence[str] = FORMS, seed: int = 0
) -> Choice:
    """Choose the form and the weights of a blend.

    Args:
        held_out: Candidates of at least `FOLDS` targets.
        users: (U,) user of each target; all of a user's targets are in one fold. None: each has a user of its own.
        forms: The forms to choose from, the preferred one first.
        seed: Seed of the division into folds.
    """
    owners = _numbers(users) if users is not None else np.arange(len(held_out.places))
    if len(np.unique(owners)) < FOLDS:  # One user alone cannot be divided, but the user's targets can.
        owners = np.arange(len(held_out.places))
    fold_of = (np.random.default_rng(seed).permutation(owners.max() + 1) % FOLDS)[owners]
    measured: dict[str, Floats] = {form: np.zeros(len(owners)) for form in forms}
    fitted: list[_Fitted] = []
    for fold in range(FOLDS):
        inside = fold_of == fold
        fitted.append(_fit(held_out.of_users(np.flatnonzero(~inside)), forms))
        own = held_out.of_users(np.flatnonzero(inside))
        for form in forms:
            measured[form][inside] = own.ndcg(fitted[-1].mixings[form])
    best = _preferred(measured, owners)
    fitted.append(_fit(held_out, [best]))
    return Choice(
        best,
        fitted[-1].mixings[best],
        measured[best],
        {form: float(values.mean()) for form, values in measured.items()},
        tried=sum(one.tried for one in fitted),
        complete=all(one.complete for one in fitted),
    )


def _numbers(users: Sequence[str]) -> Ints:
    """(U,) the number of each target's user; users are numbered as they come."""
    _, first, of_target = np.unique(np.asarray(users, dtype=str), return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[of_target.reshape(-1)], dtype=np.int64)


def _preferred(measured: Mapping[str, Floats], owners: Ints) -> str:
    """The first form that is as good as the best one, as far as its targets tell.

    Args:
        measured: (U,) NDCG of each target, by form.
        owners: (U,) number of the user of each target: the sampling error is that of drawing users.
    """
    best = max(measured, key=lambda form: float(measured[form].mean()))
    for form, values in measured.items():
        lost = measured[best] - values
        of_user = np.bincount(owners, weights=lost - lost.mean())
        error = np.sqrt((of_user**2).sum() * len(of_user) / max(len(of_user) - 1, 1)) / len(lost)
        if lost.mean() <= STANDARD_ERRORS * error:
            return form
    return best


@dataclass(frozen=True)
class _Fitted:
    """Forms with weights.

    Attributes:
        mixings: By form.
        tried: Number of settings that were tried.
        complete: Whether every search ended by itself.
    """

    mixings: dict[str, Mixing]
    tried: int
    complete: bool


def _fit(held_out: HeldOut, forms: Sequence[str]) -> _Fitted:
    """Find the weights of some forms."""
    needed = {*forms, *((CONTEXTUAL, PRODUCT) if AVERAGED in forms else ())}
    found = _Fitted({}, 0, True)
    if CONTEXTUAL in needed:
        found = _Fitted({CONTEXTUAL: fit_contextual(held_out)}, 1, True)
    for form in (PRODUCT, MIXTURE):
        if form in needed:
            outcome = search_weights(held_out, form)
            mixings = {**found.mixings, form: outcome.mixing}
            found = _Fitted(mixings, found.tried + outcome.tried, found.complete and outcome.complete)
    if AVERAGED in needed:
        found.mixings[AVERAGED] = average_with_product(found.mixings[CONTEXTUAL], found.mixings[PRODUCT], held_out)
    return found
