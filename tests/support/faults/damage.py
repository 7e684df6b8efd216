"""Damaged files: a command refuses them in one line and writes nothing, or gives the bytes of an undisturbed run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.faults import cases, child, state
from tests.support.faults.road import Road
from tests.support.faults.shop import Step

KINDS = ("truncated", "flipped", "emptied", "swapped")
# Of each part of the shop: the steps that read it.
READERS: dict[str, tuple[str, ...]] = {
    "in/lm": ("extend",),
    "in/adapter": ("merge",),
    "in": ("import", "reuse", "words", "search"),
    "tables": ("build-ids", "evaluate", "finetune"),
    "ws/semantic_ids": ("extend", "evaluate", "export-index", "recommend", "reuse", "diagnose", "report"),
    "ws/codebooks": ("diagnose", "reuse", "ground"),
    "ws/items": ("extend", "recommend", "report", "ground"),
    "ws/embeddings": ("evaluate", "blend", "reuse"),
    "ws/encoder": ("reuse",),
    "ws/extended": ("ground", "finetune", "diagnose", "words"),
    "ws/finetuned": ("evaluate", "recommend", "export-recommender", "diagnose", "export-catalog"),
    "ws/words": ("distil",),
    "ws/search": ("evaluate-queries",),
    "ws/prior": ("compare",),
    "ws/blend": ("evaluate-blend",),
    "ws/evaluation": ("report", "status"),
    "ws/diagnostics": ("report", "status"),
    "ws": ("report", "status"),
}


@dataclass(frozen=True)
class Damage:
    """One damaged file, and the step that meets it."""

    file: str
    kind: str
    step: Step


def all_damages(road: Road) -> Iterator[Damage]:
    """Every file of the shop in every way, before every step that reads it."""
    for step in road.steps:
        for file in road.before[step.name]:
            if file.endswith("/") or "/.gti/" in file or file.endswith("/README.md"):
                continue  # people may edit a model card
            part = next((part for part in READERS if file.startswith(part)), "")
            if step.name in READERS.get(part, ()):
                for kind in KINDS:
                    yield Damage(file, kind, step)


def damage(road: Road, other: Road, case: Damage, rng: random.Random) -> list[str]:
    """Damage a file, run the step, and return what is wrong.

    Args:
        road: The undisturbed run.
        other: That of another shop.
        case: What to damage.
        rng: Chooses the bytes.
    """
    folder = road.case(case.step)
    path = folder / case.file
    raw = path.read_bytes()
    path.write_bytes(_ways(other.start_of(case.step) / case.file, rng)[case.kind](raw))
    if path.read_bytes() == raw:
        road.drop(folder)
        return []
    before = state.contents(folder)
    outcome = child.run(case.step.words, folder)
    now = state.contents(folder)
    faults = []
    if outcome.code == 2:
        faults += cases.one_error_line(outcome)
        changed = [fault for fault in state.differences(before, now) if not cases.LOCK.match(fault.split(":")[0])]
        faults += [f"it was refused, and yet: {fault}" for fault in changed]
    elif outcome.code == 0:
        # Tables and models from outside may be others, if they can be read. What a stage wrote may not.
        if not case.file.startswith("in/") and case.file.startswith("ws/"):
            expected = {**road.after[case.step.name], case.file: before[case.file]}
            found = state.differences(expected, now)
            # The page says of an artifact that it was edited, and shows what there is.
            faults += [f"it was not noticed: {fault}" for fault in found if not fault.startswith("ws/report.html")]
    else:
        faults.append(f"exit code {outcome.code}: {outcome.err[-1500:]}")
    road.drop(folder)
    return faults


def _ways(other: Path, rng: random.Random) -> dict[str, Callable[[bytes], bytes]]:
    def flip(raw: bytes) -> bytes:
        """One bit of the first or of any bytes."""
        if not raw:
            return raw
        place = rng.randrange(min(len(raw), 64) if rng.random() < 0.5 else len(raw))
        return raw[:place] + bytes([raw[place] ^ (1 << rng.randrange(8))]) + raw[place + 1 :]

    return {
        "truncated": lambda raw: raw[: rng.randrange(len(raw))] if raw else raw,
        "flipped": flip,
        "emptied": lambda raw: b"",
        "swapped": lambda raw: other.read_bytes() if other.is_file() else raw,
    }
