"""Damaged files: refused in one line with nothing written, or without an effect on what is written."""

from __future__ import annotations

import random

from tests.support.faults import damage
from tests.support.faults.road import Road


def test_damaged_files_are_refused_or_do_not_matter(road: Road) -> None:
    rng = random.Random(5)
    quick = {"extend", "export-recommender"}
    every = [case for case in damage.all_damages(road) if case.step.name in quick and case.kind != "swapped"]
    for case in rng.sample(every, 20):
        assert damage.damage(road, road, case, rng) == [], case
