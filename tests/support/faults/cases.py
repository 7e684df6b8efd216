"""One disturbed command: what must hold after the disturbance, and after the same command has run again."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.faults import child, state
from tests.support.faults.child import Outcome
from tests.support.faults.road import Road
from tests.support.faults.shop import Step

# What an interrupted stage keeps, so that the next run resumes: the request, the time, the work.
KEPT = re.compile(
    r"(ws|vae|tables)/\.gti/staging/([^/]+/(REQUEST\.json|TIME\.json|scratch/.*))?$|\.[^/]+\.parquet\.parts/"
)
# Locks, and the note of a running command, which the next command removes.
LOCK = re.compile(r"(ws|vae|tables)/\.gti/(lock|staging/|running/([^/]+\.(lock|json))?)?$")
REMEDY = re.compile(r"(run|again|room|change|write|remove|wait|restore|use|pass|give|check|free)", re.IGNORECASE)


class AtChange:
    """Does something at the n-th change of a file.

    Args:
        number: Which change, from 0.
        act: What is done then; it gets the path.
        from_then_on: Whether it is done at each later change, too.
    """

    def __init__(self, number: int, act: Callable[[str, str], None], from_then_on: bool = False) -> None:
        self.number, self.act, self.from_then_on, self._seen = number, act, from_then_on, 0

    def __call__(self, event: str, path: str) -> None:
        seen, self._seen = self._seen, self._seen + 1
        if seen == self.number or (self.from_then_on and seen > self.number):
            self.act(event, path)


def send(number: int) -> Callable[[str, str], None]:
    """Send a signal to this process."""

    def act(_: str, __: str) -> None:
        os.kill(os.getpid(), number)

    return act


def fail(code: int) -> Callable[[str, str], None]:
    """Fail as the operating system does; what makes room is allowed."""

    def act(event: str, path: str) -> None:
        if event in ("open", "os.mkdir", "os.link", "os.symlink"):
            raise OSError(code, os.strerror(code), path)

    return act


def one_error_line(outcome: Outcome) -> list[str]:
    """What is wrong with what a failed command said: it must be one line that says what to do."""
    lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    faults = [] if len(lines) == 1 else [f"{len(lines)} error lines: {outcome.err[-800:]}"]
    if "Traceback" in outcome.err or "Exception ignored" in outcome.err or "bug in gti" in outcome.err:
        faults.append(f"a traceback: {outcome.err[-1500:]}")
    if lines and not REMEDY.search(lines[0]):
        faults.append(f"it does not say what to do: {lines[0]}")
    return faults


def untouched(road: Road, step: Step, case: Path, tidy: bool) -> list[str]:
    """What a disturbed command has done to the files that it must not touch.

    Args:
        road: The undisturbed run.
        step: The step.
        case: Where it was disturbed.
        tidy: Whether the command could clean up: then nothing temporary may be there.
    """
    before, after, now = road.before[step.name], road.after[step.name], state.contents(case)
    committed = tuple(itertools.chain.from_iterable(_committed(name, now) for name in now))
    faults = []
    for name in sorted(set(before) | set(now)):
        if now.get(name) in (before.get(name), after.get(name)):
            continue  # as it was, or as it will be
        if name.endswith("/") and name not in now:
            continue  # a folder that was empty, or is one now
        if name.endswith("/README.md"):
            continue  # a model card, which a later stage of the same command refreshes: the rerun compares it
        if committed and name.startswith(committed):
            continue  # the work is done, and the next command moves what is left
        if name not in before and name not in after and (not tidy or KEPT.match(name) or LOCK.match(name)):
            continue
        faults.append(f"{name}: {'lost' if name not in now else 'changed' if name in before else 'left over'}")
    return faults + (_left_in_temporary(case) if tidy else [])


def _committed(name: str, now: dict[str, bytes]) -> list[str]:
    """What a commit that is under way moves and removes; none for another file."""
    if not name.endswith("/COMMIT.json"):
        return []
    staging, payload = Path(name).parent, json.loads(now[name])
    workspace = staging.parents[2]
    moved = [*payload["manifest"]["outputs"], *payload["remove"], payload["manifest_path"]]
    return [str(staging), *(str(workspace / output) for output in moved)]


def rerun(road: Road, step: Step, case: Path, *, temporary: bool = True) -> list[str]:
    """Run the step again: all must be as if nothing had happened."""
    again = child.run(step.words, case)
    if again.code == 2 and "there already" in again.err and "--force" in again.err:
        again = child.run([*step.words, "--force"], case)
    faults = [] if again.code == 0 else [f"the rerun ended with {again.code}: {again.err[-1500:]}"]
    faults += state.differences(road.after[step.name], state.contents(case))
    return faults + (_left_in_temporary(case) if temporary else [])


def kill(road: Road, step: Step, number: int, how: int) -> list[str]:
    """Send the signal ``how`` at the change ``number`` of a step; returns what is wrong afterwards."""
    case = road.case(step)
    outcome = child.run(step.words, case, disturb=AtChange(number, send(how)))
    return _after_kill(road, step, case, outcome, how)


def kill_after(road: Road, step: Step, seconds: float, how: int) -> list[str]:
    """Send the signal ``how`` after so many seconds."""
    case = road.case(step)
    running = child.start(step.words, case)
    running.wait_for_its_begin()
    time.sleep(seconds)
    os.kill(running.pid, how)  # its process waits for `wait`, even when it has ended
    return _after_kill(road, step, case, running.wait(), how, at_once=how == signal.SIGTERM)


def _after_kill(road: Road, step: Step, case: Path, outcome: Outcome, how: int, at_once: bool = False) -> list[str]:
    tidy = how != signal.SIGKILL
    expected = 128 + how if tidy else -how
    # Outside of its work SIGTERM may end the process at once; a shell shows 143 for that, too.
    may = at_once and outcome.code == -how and _is_outside_its_work(road, step, case)
    faults = [] if may or outcome.code in (0, expected) else [f"exit code {outcome.code}, not {expected}"]
    if outcome.code == expected and tidy:
        faults += one_error_line(outcome)
    faults += untouched(road, step, case, tidy)
    faults += rerun(road, step, case, temporary=tidy)
    road.drop(case)
    return faults


def _is_outside_its_work(road: Road, step: Step, case: Path) -> bool:
    """Whether a step has changed nothing, or is done: every file is there, and no other."""
    now = state.contents(case)
    return any(not state.differences(whole[step.name], now) for whole in (road.before, road.after))


def refuse(road: Road, step: Step, number: int, code: int) -> list[str]:
    """Let all changes of files fail with an error of the system, from the change ``number`` on."""
    case = road.case(step)
    outcome = child.run(step.words, case, disturb=AtChange(number, fail(code), from_then_on=code == errno.ENOSPC))
    return after_refusal(road, step, case, outcome)


def after_refusal(road: Road, step: Step, case: Path, outcome: Outcome) -> list[str]:
    """What is wrong after a command that the system refused something."""
    faults = []
    if outcome.code == 2:
        faults += one_error_line(outcome)
    elif outcome.code != 0:
        faults.append(f"exit code {outcome.code}: {outcome.err[-1500:]}")
    faults += untouched(road, step, case, tidy=True)
    faults += rerun(road, step, case)
    road.drop(case)
    return faults


def _left_in_temporary(case: Path) -> list[str]:
    return [f"temporary folder: {path.name}" for path in case.with_name(f"{case.name}.tmp").iterdir()]
