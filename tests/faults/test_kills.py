"""Commands that are killed: what was finished stays, and the same command then gives the same bytes."""

from __future__ import annotations

import random
import signal

import pytest

from tests.support.faults import cases
from tests.support.faults.road import Road

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
KILLS = {"import": 5, "build-ids": 3, "extend": 3, "finetune": 3, "export-recommender": 3, "replace": 3}


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_command_loses_nothing_and_runs_again(road: Road, name: str) -> None:
    step, rng = road.step(name), random.Random(name)
    changes = road.changes[name]
    # One kill in each part of the command, so that the moves at its end are among them.
    for number in range(KILLS[name]):
        low, high = (len(changes) * part // KILLS[name] for part in (number, number + 1))
        at, how = rng.randrange(low, high), SIGNALS[number % 3]
        assert cases.kill(road, step, at, how) == [], (name, how, at, changes[at])


@pytest.mark.parametrize("how", SIGNALS)
def test_at_any_time(road: Road, how: signal.Signals) -> None:
    step = road.step("build-ids")
    seconds = random.Random(how).uniform(0, road.seconds["build-ids"])
    assert cases.kill_after(road, step, seconds, how) == [], seconds
