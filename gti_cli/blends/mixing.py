"""One score from the log-probabilities that several recommenders give a candidate.

There are three forms. A *mixture* adds weighted probabilities: one recommender that is sure of an item suffices. A
*product* adds weighted logarithms (a log-linear pool): recommenders have to agree. A *contextual product* is a product
whose weights depend on how much is known: on the length of the user's history, and on how often the item was seen in
training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIXTURE, PRODUCT, CONTEXTUAL = "mixture", "product", "contextual product"
# Upper ends of the bins of a context, inclusive; the last bin is open.
HISTORY_ENDS = (2, 5, 10, 20)
ITEM_ENDS = (0, 4, 19, 99)


@dataclass(frozen=True)
class Contexts:
    """What is known of the user and the item of each candidate.

    Attributes:
        history: (n,) bin of the length of the user's history, by `HISTORY_ENDS`.
        item: (n,) bin of the item's training interactions, by `ITEM_ENDS`.
    """

    history: Ints
    item: Ints

    def of_entries(self, entries: Ints) -> Contexts:
        """The contexts of some candidates."""
        return Contexts(self.history[entries], self.item[entries])


def find_contexts(history_lengths: Ints, item_counts: Ints) -> Contexts:
    """Put candidates into bins.

    Args:
        history_lengths: (n,) number of items in the history of the candidate's user.
        item_counts: (n,) training interactions of the candidate.
    """
    return Contexts(np.searchsorted(HISTORY_ENDS, history_lengths), np.searchsorted(ITEM_ENDS, item_counts))


@dataclass(frozen=True)
class Mixing:
    """A form with its weights, for M recommenders.

    Attributes:
        form: `MIXTURE`, `PRODUCT` or `CONTEXTUAL`.
        weights: (M,) weights. Those of a mixture and of a product add up to 1.
        history_weights: (M, bins) what is added to the weights by the user's bin; empty unless contextual.
        item_weights: (M, bins) what is added to the weights by the item's bin; empty unless contextual.
        item_bias: (bins,) what is added to the score by the item's bin; empty unless contextual.
    """

    form: str
    weights: Floats
    history_weights: Floats
    item_weights: Floats
    item_bias: Floats

    @classmethod
    def plain(cls, form: str, weights: Floats) -> Mixing:
        """A mixture or a product."""
        return cls(form, weights, np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0))

    def scores(self, log_probabilities: Floats, contexts: Contexts) -> Floats:
        """Score candidates.

        Args:
            log_probabilities: (M, n) natural logarithms, from `calibration.log_probabilities`.
            contexts: The contexts of the n candidates.

        Returns:
            (n,) scores, of which only the order within a user has a meaning.
        """
        if self.form == MIXTURE:
            # The logarithm keeps the order, and reads like the scores of the other forms.
            return np.asarray(np.log(np.tensordot(self.weights, np.exp(log_probabilities), axes=1)))
        if self.form == PRODUCT:
            return np.asarray(np.tensordot(self.weights, log_probabilities, axes=1))
        scores: Floats = self.item_bias[contexts.item].copy()
        for member, values in enumerate(log_probabilities):
            weights = self.weights[member] + self.history_weights[member][contexts.history]
            scores += (weights + self.item_weights[member][contexts.item]) * values
        return scores

    def mean_weights(self, contexts: Contexts) -> Floats:
        """(M,) mean weight of each recommender over candidates in their contexts."""
        if self.form != CONTEXTUAL or not len(contexts.item):
            return self.weights
        by_history, by_item = self.history_weights[:, contexts.history], self.item_weights[:, contexts.item]
        means: Floats = self.weights + by_history.mean(axis=1) + by_item.mean(axis=1)
        return means

    def as_json(self) -> dict[str, Any]:
        """The form and its weights as JSON values."""
        values: dict[str, Any] = {"form": self.form, "weights": self.weights.tolist()}
        if self.form == CONTEXTUAL:
            values |= {
                "history_ends": list(HISTORY_ENDS),
                "history_weights": self.history_weights.tolist(),
                "item_ends": list(ITEM_ENDS),
                "item_weights": self.item_weights.tolist(),
                "item_bias": self.item_bias.tolist(),
            }
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Mixing:
        """Read what `as_json` gave.

        Raises:
            ValueError: When the values are not those of a form.
        """
        form, weights = values["form"], np.asarray(values["weights"], dtype=np.float64)
        if form in (MIXTURE, PRODUCT):
            return cls.plain(form, weights)
        if form != CONTEXTUAL or (values["history_ends"], values["item_ends"]) != (list(HISTORY_ENDS), list(ITEM_ENDS)):
            raise ValueError(f"unknown form {form!r}")
        names = ("history_weights", "item_weights", "item_bias")
        return cls(form, weights, *(np.asarray(values[name], dtype=np.float64) for name in names))
