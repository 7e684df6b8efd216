"""All cases, in one list."""

from __future__ import annotations

import random

from tests.support.bad_input.arrow import arrow_cases
from tests.support.bad_input.case import Case
from tests.support.bad_input.checkpoints import checkpoint_cases, json_cases, space_cases
from tests.support.bad_input.tables import file_cases, value_cases

__all__ = ["Case", "all_cases"]


def all_cases(seed: int = 0) -> list[Case]:
    """All cases, always the same ones for a seed."""
    rng = random.Random(seed)
    return [
        *value_cases(),
        *file_cases(rng),
        *arrow_cases(),
        *json_cases(),
        *checkpoint_cases(rng),
        *space_cases(rng),
    ]
