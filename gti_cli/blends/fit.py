"""Fits a blend to held-out targets, and applies it: from the raw scores of its members to one score.

A fitted blend is a few numbers: for each member how its scores become probabilities, and how these are mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.blends.calibration import Calibration, calibrate, log_probabilities
from gti_cli.blends.candidate_table import Candidates
from gti_cli.blends.choose import FORMS, Choice, choose
from gti_cli.blends.mixing import Contexts, Mixing
from gti_cli.blends.weight_search import HeldOut
from gti_cli.tables.arrays.ragged import offsets_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MemberScores:
    """What M recommenders say of the candidates of U users.

    Attributes:
        members: M names.
        candidates: The union of their lists.
        scores: (M, n) their own scores; -inf for a candidate that a member does not recommend.
        listed: (M, n) whether the candidate is in the member's list.
        contexts: The contexts of the n candidates.
    """

    members: tuple[str, ...]
    candidates: Candidates
    scores: Floats
    listed: Mask
    contexts: Contexts

    def of_members(self, names: Sequence[str]) -> MemberScores:
        """What some of the recommenders would say alone: candidates that none of them lists are left out."""
        chosen = np.asarray([self.members.index(name) for name in names])
        entries = np.flatnonzero(self.listed[chosen].any(axis=0))
        sizes = np.bincount(self.candidates.owners[entries], minlength=len(self.candidates.offsets) - 1)
        candidates = Candidates(offsets_of(sizes), self.candidates.rows[entries])
        return MemberScores(
            tuple(names),
            candidates,
            self.scores[np.ix_(chosen, entries)],
            self.listed[np.ix_(chosen, entries)],
            self.contexts.of_entries(entries),
        )


@dataclass(frozen=True)
class Blend:
    """A fitted blend.

    Attributes:
        members: M names.
        calibrations: How each member's scores become probabilities.
        mixing: Form and weights.
    """

    members: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    mixing: Mixing

    def scores(self, said: MemberScores) -> Floats:
        """(n,) scores of the candidates, of which only the order within a user has a meaning."""
        return self.mixing.scores(_comparable(said, self.calibrations), said.contexts)

    def as_json(self) -> dict[str, Any]:
        """The blend as JSON values."""
        return {
            "members": list(self.members),
            "calibrations": [asdict(calibration) for calibration in self.calibrations],
            **self.mixing.as_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Blend:
        """Read what `as_json` gave.

        Raises:
            KeyError: When a value is missing.
            ValueError: When the values are not those of a blend.
        """
        calibrations = tuple(Calibration(**entry) for entry in values["calibrations"])
        return cls(tuple(values["members"]), calibrations, Mixing.from_json(values))


def _comparable(said: MemberScores, calibrations: Sequence[Calibration]) -> Floats:
    """(M, n) log-probabilities."""
    return np.stack(
        [
            log_probabilities(scores, said.candidates, calibration)
            for scores, calibration in zip(said.scores, calibrations, strict=True)
        ]
    )


def fit_blend(
    said: MemberScores,
    targets: Ints,
    users: Sequence[str] | None = None,
    *,
    forms: Sequence[str] = FORMS,
    seed: int = 0,
) -> tuple[Blend, Choice]:
    """Fit a blend of all members.

    Args:
        said: What the members say of the candidates of U held-out targets.
        targets: (U,) catalogue row of each held-out target.
        users: (U,) user of each target. None: each has a user of its own.
        forms: The forms to choose from.
        seed: Seed of the division of users into folds.

    Returns:
        The blend, and how it was chosen.
    """
    places = said.candidates.places_of(targets)
    calibrations = tuple(calibrate(scores, said.candidates, places) for scores in said.scores)
    held_out = HeldOut(said.candidates, _comparable(said, calibrations), said.contexts, places)
    choice = choose(held_out, users=users, forms=forms, seed=seed)
    return Blend(said.members, calibrations, choice.mixing), choice
