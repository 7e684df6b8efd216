"""Chooses the form and the weights of a blend on held-out targets.

A form with more freedom fits held-out targets better by chance. So forms are compared by *cross-fitting*: the users are
divided into folds, the weights for each fold are found on the other folds, and NDCG is measured on the fold. The form
that is best in this way gets its final weights from all users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.blends.contextual_fit import fit_contextual
from gti_cli.blends.mixing import CONTEXTUAL, MIXTURE, PRODUCT, Mixing
from gti_cli.blends.weight_search import CUT_OFF, HeldOut, search_weights

Floats = npt.NDArray[np.float64]

FOLDS = 2
FORMS = (MIXTURE, PRODUCT, CONTEXTUAL)


@dataclass(frozen=True)
class Choice:
    """The chosen form and weights.

    Attributes:
        mixing: Form and weights, found on all users.
        cross_fitted: (U,) NDCG@10 of each held-out target under weights that were found without its user.
        by_form: Mean cross-fitted NDCG@10 of each form.
        tried: Number of settings that were tried in all.
        complete: Whether every search ended by itself.
    """

    mixing: Mixing
    cross_fitted: Floats
    by_form: dict[str, float]
    tried: int
    complete: bool

    def report(self) -> dict[str, Any]:
        """The outcome as the manifest has it."""
        return {
            **self.mixing.as_json(),
            f"ndcg@{CUT_OFF}_cross_fitted": float(self.cross_fitted.mean()),
            "forms": self.by_form,
            "settings_tried": self.tried,
            "search_complete": self.complete,
        }


def choose(held_out: HeldOut, *, forms: Sequence[str] = FORMS, seed: int = 0) -> Choice:
    """Choose the form and the weights of a blend.

    Args:
        held_out: Candidates and targets of at least `FOLDS` users.
        forms: The forms to choose from; of equal ones the first.
        seed: Seed of the division into folds.
    """
    users = len(held_out.places)
    fold_of = np.random.default_rng(seed).permutation(users) % FOLDS
    measured: dict[str, Floats] = {}
    tried, complete = 0, True
    for form in forms:
        values = np.zeros(users)
        for fold in range(FOLDS):
            inside = fold_of == fold
            mixing, count, ended = _fit(held_out.of_users(np.flatnonzero(~inside)), form)
            values[inside] = held_out.of_users(np.flatnonzero(inside)).ndcg(mixing)
            tried, complete = tried + count, complete and ended
        measured[form] = values
    by_form = {form: float(values.mean()) for form, values in measured.items()}
    best = max(forms, key=by_form.__getitem__)
    mixing, count, ended = _fit(held_out, best)
    return Choice(mixing, measured[best], by_form, tried + count, complete and ended)


def _fit(held_out: HeldOut, form: str) -> tuple[Mixing, int, bool]:
    """The weights of a form, the number of settings tried, and whether the search ended by itself."""
    if form == CONTEXTUAL:
        return fit_contextual(held_out), 1, True
    outcome = search_weights(held_out, form)
    return outcome.mixing, outcome.tried, outcome.complete
