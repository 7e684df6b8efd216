"""The directions of a job."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.grounding.job import GroundingJob
from gti_cli.grounding.options import GroundOptions
from gti_cli.prompts.pair_prompts import DEFAULT_TEMPLATES, TO_TEXT, TO_TOKENS

PARTS: Any = ("checkpoint", "new_tokens", "table", None)


@pytest.mark.parametrize(
    ("option", "directions"),
    [("both", (TO_TOKENS, TO_TEXT)), ("to-tokens", (TO_TOKENS,)), ("to-text", (TO_TEXT,))],
)
def test_directions_in_the_order_in_which_examples_are_made(option: str, directions: tuple[str, ...]) -> None:
    job = GroundingJob(*PARTS, GroundOptions(directions=option), 0, *PARTS[:2])
    assert job.directions == directions and job.templates is DEFAULT_TEMPLATES


def test_a_job_whose_directions_were_never_chosen_has_none() -> None:
    with pytest.raises(KeyError):
        _ = GroundingJob(*PARTS, GroundOptions(), 0, *PARTS[:2]).directions
