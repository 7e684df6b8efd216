"""Two commands at once, and clocks that go wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.faults import cases, child, state
from tests.support.faults.child import Outcome
from tests.support.faults.road import Road
from tests.support.faults.shop import Step


def pause(flag: Path) -> Callable[[str, str], None]:
    """Make the file ``flag``, and wait until somebody removes it."""

    def act(_: str, __: str) -> None:
        flag.touch()
        deadline = time.monotonic() + child.LIMIT
        while flag.exists() and time.monotonic() < deadline:
            time.sleep(0.005)

    return act


def during(road: Road, step: Step, number: int, words: list[str]) -> tuple[Outcome | None, list[str]]:
    """Run another command while a step is at its change ``number``.

    Returns:
        What became of the other command, and what is wrong with the step afterwards.
    """
    case = road.case(step)
    flag = case.with_name(f"{case.name}.flag")
    running = child.start(step.words, case, disturb=cases.AtChange(number, pause(flag)))
    while not flag.exists():
        if os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return None, [f"it ended before: {running.wait().err}"]
        time.sleep(0.005)
    other = child.run(words, case)
    flag.unlink()
    outcome = running.wait()
    faults = [] if outcome.code == 0 else [f"exit code {outcome.code}: {outcome.err[-1500:]}"]
    faults += [fault for fault in state.differences(road.after[step.name], state.contents(case)) if "pyc" not in fault]
    road.drop(case)
    return other, faults


def set_back(days: float) -> Callable[[], None]:
    """What makes the clock of a child run from ``days`` days ago, an hour back with each look."""

    def apply() -> None:
        real, looks = time.time, [0]

        def earlier() -> float:
            looks[0] += 1
            return real() - days * 86400 - looks[0] * 3600

        time.time = earlier
        time.time_ns = lambda: int(earlier() * 1e9)

    return apply


def age(folder: Path, when: float) -> None:
    """Give all files below a folder another time."""
    for path in folder.rglob("*"):
        os.utime(path, (when, when), follow_symlinks=False)


def with_wrong_clock(road: Road, step: Step, days: float) -> list[str]:
    """Run a step on files of the future with a clock of the past, then a second time, which must find it finished."""
    case = road.case(step)
    age(case, time.time() + 400 * 86400)
    outcome = child.run(step.words, case, before=set_back(days))
    faults = [] if outcome.code == 0 else [f"exit code {outcome.code}: {outcome.err[-1500:]}"]
    faults += state.differences(road.after[step.name], state.contents(case))
    age(case, 0.0)
    faults += cases.rerun(road, step, case)
    road.drop(case)
    return faults
