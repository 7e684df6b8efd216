"""A command in two processes, as torchrun starts them, of which one is killed."""

from __future__ import annotations

import os
import signal
import time

from tests.support.faults import cases, child, state
from tests.support.faults.road import Road
from tests.support.faults.shop import Step
from tests.support.launch import free_port, variables_of_rank

STEPS = ("ground", "solve", "finetune", "evaluate", "blend", "extend", "build-ids")
PATIENCE = 20.0  # seconds for the other process to notice


def lose(road: Road, step: Step, victim: int, number: int, patience: float = PATIENCE) -> list[str]:
    """Kill one of two processes at its change ``number``; the other must end, and a rerun must be whole.

    Args:
        road: The undisturbed run.
        step: The command.
        victim: The process that is killed, 0 or 1.
        number: The change of a file at which it is killed.
        patience: Seconds for the other process to end by itself. Then it gets SIGTERM, as torchrun sends it at once.
    """
    case, port = road.case(step), free_port()
    running = [
        child.start(
            step.words,
            case,
            variables=variables_of_rank(rank, port),
            disturb=cases.AtChange(number, cases.send(signal.SIGKILL)) if rank == victim else None,
        )
        for rank in (0, 1)
    ]
    ended = running[victim].wait()
    if ended.code == 0:  # it was faster
        running[1 - victim].wait()
        road.drop(case)
        return []
    deadline, other = time.monotonic() + patience, running[1 - victim]
    while not os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > deadline:
            os.kill(other.pid, signal.SIGTERM)
            break
        time.sleep(0.02)
    outcome = other.wait()
    faults = []
    if outcome.code == 2:
        faults += cases.one_error_line(outcome)
    elif outcome.code not in (0, -signal.SIGTERM):
        faults.append(f"exit code {outcome.code}: {outcome.err[-1500:]}")
    again = child.run(step.words, case)
    if again.code != 0:
        faults.append(f"the rerun ended with {again.code}: {again.err[-1500:]}")
    left = [name for name in state.contents(case) if ".part" in name or "followers" in name or "/launch/" in name]
    faults += [f"{name}: left over" for name in left]
    road.drop(case)
    return faults
