"""The long run of the fault tests: many cases of each kind, chosen by a seed, and a table of what they found."""

from __future__ import annotations

import errno
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.faults import cases, company, damage, disk, launched
from tests.support.faults.road import Road, preload, walk
from tests.support.faults.shop import Step

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
MODES = (("ws", 0o555), ("ws/.gti", 0o555), (".", 0o555), ("in", 0o000), ("tables", 0o000), ("ws", 0o000))


@dataclass
class Report:
    """How many cases of each kind there were, and what was wrong.

    Attributes:
        counts: Cases by kind.
        faults: What was wrong, as kind, case and fault.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, kind: str, case: str, faults: list[str]) -> None:
        """Note a case."""
        self.counts[kind] += 1
        for fault in faults:
            self.faults.append((kind, case, fault))
            print(f"FAULT {kind}: {case}: {fault}", flush=True)


def kills(road: Road, rng: random.Random, count: int, report: Report) -> None:
    """Signals: two of three at a change of a file, the others at a random time."""
    for number in range(count):
        step, how = _step(road, rng), SIGNALS[number % 3]
        name = signal.Signals(how).name
        if number % 9 < 6 and road.changes[step.name]:
            at = rng.randrange(len(road.changes[step.name]))
            told = f"{step.name}, {name} at change {at} {road.changes[step.name][at]}"
            report.add("kill at a change", told, cases.kill(road, step, at, how))
        else:
            seconds = rng.uniform(0, road.seconds[step.name])
            told = f"{step.name}, {name} after {seconds:.3f} s"
            report.add("kill at a time", told, cases.kill_after(road, step, seconds, how))


def _refused_changes(road: Road, rng: random.Random, count: int, report: Report, kind: str, error: int) -> None:
    """Let the system refuse chosen changes of files with one error number."""
    for _ in range(count):
        step = _step(road, rng)
        if not road.changes[step.name]:
            continue
        at = rng.randrange(len(road.changes[step.name]))
        told = f"{step.name} at change {at} {road.changes[step.name][at]}"
        report.add(kind, told, cases.refuse(road, step, at, error))


def full_disks(road: Road, rng: random.Random, count: int, report: Report) -> None:
    """Disks that are full: at a change of a file, and, where file systems can be mounted, by the system itself."""
    _refused_changes(road, rng, count // 2, report, "full disk at a change", errno.ENOSPC)
    if not disk.can_mount(road.folder / "mounted"):
        print("no file system can be mounted here: the real full disk is left out")
        return
    done = 0
    sizes = [0, 1, 2, 4, 7, 12, 20, 35, 60, 100, 180, 300, 500]
    pairs = [(step, pages) for step in road.steps if road.changes[step.name] for pages in sizes]
    rng.shuffle(pairs)
    for step, pages in pairs:
        if done >= count - count // 2:
            break
        code, faults = disk.with_free_pages(road, step, pages)
        if code == 0 and not faults:
            report.counts["(disk had room)"] += 1
            continue
        done += 1
        report.add("full disk by the system", f"{step.name} with {pages} free pages", faults)


def permissions(road: Road, rng: random.Random, count: int, report: Report) -> None:
    """No permission: at a change of a file, and by the modes of folders and files."""
    _refused_changes(road, rng, count // 2, report, "no permission at a change", errno.EACCES)
    for _ in range(count - count // 2):
        step = _step(road, rng)
        name, mode = rng.choice(MODES)
        if rng.random() < 0.5:
            files = [file for file in road.before[step.name] if not file.endswith("/") and "/.gti/" not in file]
            name, mode = rng.choice(files), 0o000
        if (road.start_of(step) / name).exists():
            report.add("no permission by mode", f"{step.name}: {name} {mode:o}", disk.forbid(road, step, name, mode))


def damages(road: Road, rng: random.Random, count: int, report: Report) -> None:
    """Damaged files."""
    other = walk(road.folder.with_name(f"{road.folder.name}-other"), [step.name for step in road.steps], seed=1)
    every = list(damage.all_damages(road))
    rng.shuffle(every)
    seen: set[tuple[str, str]] = set()
    # each file in each way once, then again before other steps
    every.sort(key=lambda case: (case.file, case.kind) in seen or bool(seen.add((case.file, case.kind))))
    for case in every[:count]:
        told = f"{case.step.name}: {case.file} {case.kind}"
        report.add(f"damaged file, {case.kind}", told, damage.damage(road, other, case, rng))


def at_once(road: Road, rng: random.Random, count: int, report: Report) -> None:
    """Two commands in one workspace."""
    for _ in range(count):
        step = rng.choice([s for s in road.steps if len(road.changes[s.name]) > 20 and "-w" not in s.text])
        if step.name == "import":
            continue
        at = rng.randrange(5, len(road.changes[step.name]))
        other = rng.choice([step, *(s for s in road.steps if road.steps.index(s) < road.steps.index(step))])
        if other.name in ("import", "merge", "rq-vae"):
            continue
        words = list(other.words)
        if "-o" in words:
            words[words.index("-o") + 1] = "../elsewhere-" + words[words.index("-o") + 1].replace("/", "-")
        outcome, faults = company.during(road, step, at, words)
        if outcome is not None and outcome.code == 2:
            faults += cases.one_error_line(outcome)
        elif outcome is not None and outcome.code != 0:
            faults.append(f"the other ended with {outcome.code}: {outcome.err[-1500:]}")
        for path in road.folder.glob("elsewhere-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        report.add("two at once", f"{other.name} while {step.name} is at change {at}", faults)


def clocks(road: Road, rng: random.Random, count: int, report: Report) -> None:
    """Clocks that go back."""
    for step in rng.sample(road.steps, min(count, len(road.steps))):
        if step.name != "report":  # shows times
            report.add("clock set back", step.name, company.with_wrong_clock(road, step, rng.uniform(1, 4000)))


def lost_workers(road: Road, rng: random.Random, count: int, report: Report) -> None:
    """One of two processes is killed."""
    names = [name for name in launched.STEPS if name in {step.name for step in road.steps}]
    for _ in range(count):
        step, victim = road.step(rng.choice(names)), rng.randrange(2)
        at = rng.randrange(2, 60)
        told = f"{step.name}, process {victim} at change {at}"
        report.add("a process of a launch killed", told, launched.lose(road, step, victim, at))


KINDS: dict[str, tuple[Callable[[Road, random.Random, int, Report], None], int]] = {
    "kills": (kills, 300),
    "disks": (full_disks, 100),
    "permissions": (permissions, 60),
    "damages": (damages, 300),
    "at-once": (at_once, 40),
    "clocks": (clocks, 12),
    "workers": (lost_workers, 10),
}


def _step(road: Road, rng: random.Random) -> Step:
    """A step: the shorter it takes, the oftener, since what it shares with longer ones is where faults are."""
    weights = [1 / (0.3 + road.seconds[step.name]) for step in road.steps]
    return rng.choices(road.steps, weights)[0]


def run(folder: Path, seed: int, counts: dict[str, int], names: list[str] | None) -> Report:
    """Run the kinds that have a count.

    Args:
        folder: Where to work; it is emptied.
        seed: Seed of the choices.
        counts: Kind -> number of cases.
        names: Names of steps (None: all).
    """
    preload()
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    road = walk(folder / "road", names)
    print(f"{len(road.steps)} commands without a disturbance: {time.monotonic() - started:.0f} s", flush=True)
    report = Report()
    for kind, count in counts.items():
        began = time.monotonic()
        KINDS[kind][0](road, random.Random(f"{seed} {kind}"), count, report)
        print(f"{kind}: {time.monotonic() - began:.0f} s, so far {len(report.faults)} faults", flush=True)
    return report


def lines(report: Report) -> Iterator[str]:
    """The table of a report."""
    for kind, count in sorted(report.counts.items()):
        yield f"{kind:32} {count:5} cases, {sum(fault[0] == kind for fault in report.faults):3} faults"


def main(arguments: list[str] | None = None) -> int:
    """The command line of ``python -m tests.faults``."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("faults-run"), help="where to work; it is emptied")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="kinds, with commas between them")
    parser.add_argument("--steps", help="names of steps, with commas between them")
    for kind, (_, count) in KINDS.items():
        parser.add_argument(f"--{kind}", type=int, default=count, help=f"cases (default {count})")
    given = parser.parse_args(arguments)
    chosen = given.only.split(",") if given.only else list(KINDS)
    counts = {kind: getattr(given, kind.replace("-", "_")) for kind in chosen}
    report = run(given.folder.resolve(), given.seed, counts, given.steps.split(",") if given.steps else None)
    print("\n".join(lines(report)))
    sys.stdout.flush()
    return 1 if report.faults else 0
