"""Checkpoints as points in time: which came from which, by their manifests or by the steps of a Trainer's folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gti_cli.diagnostics.subjects import Subject
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

_STEP = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Entry:
    """A checkpoint as given, or found in a folder of checkpoints.

    Attributes:
        path: as `subjects.resolve` takes it. step: of training, None where the folder's name does not say.
        group: number of the argument that it comes from, None where the argument is the checkpoint itself.
    """

    path: str
    step: int | None = None
    group: int | None = None


@dataclass(frozen=True)
class Point:
    """A checkpoint in time.

    Attributes:
        subject: what was read of it. step: as in `Entry`. previous: the checkpoint that it was trained from, among
            those given; None for a beginning.
        position: 0 for a beginning, one more for each stage; the checkpoints within a stage lie in between, by step.
    """

    subject: Subject
    step: int | None
    previous: Point | None
    position: float

    @property
    def start(self) -> Point:
        """The beginning of its line."""
        return self if self.previous is None else self.previous.start

    @property
    def line(self) -> list[Point]:
        """From the beginning to this point."""
        return [*(self.previous.line if self.previous else []), self]


def expand(space: Workspace, given: Sequence[str]) -> list[Entry]:
    """Replace folders that hold ``checkpoint-N`` folders by these, in the order of N, and then by themselves if they
    are a checkpoint too (as a Trainer's output folder is after its end).
    """
    entries = []
    for number, path in enumerate(given):
        folder = Path(path) if Path(path).is_dir() else space.path(path)
        inside = folder.iterdir() if folder.is_dir() else ()
        steps = sorted((int(match[1]), str(one)) for one in inside if (match := _STEP.fullmatch(one.name)))
        if not steps:
            entries.append(Entry(path))
            continue
        entries += [Entry(one, step, number) for step, one in steps]
        if (folder / "config.json").is_file():
            entries.append(Entry(path, None, number))
    return entries


def lay_out(space: Workspace, entries: Sequence[Entry], subjects: Sequence[Subject]) -> list[Point]:
    """Put ``subjects`` (one for each of ``entries``) in time: every checkpoint behind the one that it came from.

    A checkpoint with a manifest comes from the nearest of its ancestors that is given, or begins a line. Without one,
    it comes from the checkpoint before it in the order given. Checkpoints of one origin make lines that branch.

    Raises:
        InputError: two checkpoints of a line have other new tokens, so that their rows cannot be compared.
    """
    parents = _parents(space, entries, subjects)
    last = {entry.group: entry.step or 0 for entry in entries if entry.step is not None}
    points: dict[int, Point] = {}

    def place(index: int) -> Point:
        """The point of an entry, behind the one that it came from."""
        if index not in points:
            entry, parent = entries[index], parents[index]
            previous = None if parent is None else place(parent)
            if previous is not None:
                _check_same_tokens(previous.subject, subjects[index])
            begins = previous is None and entry.group is None
            share = 1.0 if entry.step is None else entry.step / max(last[entry.group], 1)
            position = 0.0 if begins else _before(entries, parents, index, points) + share
            points[index] = Point(subjects[index], entry.step, previous, position)
        return points[index]

    found = [place(index) for index in range(len(entries))]
    return sorted(found, key=lambda point: len(point.line))


def _before(entries: Sequence[Entry], parents: Sequence[int | None], index: int, points: dict[int, Point]) -> float:
    """Position of the checkpoint that the entry, or the folder of checkpoints that it lies in, started from."""
    group, parent = entries[index].group, parents[index]
    while parent is not None and group is not None and entries[parent].group == group:
        parent = parents[parent]
    return 0.0 if parent is None else points[parent].position


def _parents(space: Workspace, entries: Sequence[Entry], subjects: Sequence[Subject]) -> list[int | None]:
    manifests = [subject.manifest for subject in subjects]
    known = {manifest.identity: manifest for manifest in space.manifests().values()}
    known.update({manifest.identity: manifest for manifest in manifests if manifest is not None})
    places = {manifest.identity: index for index, manifest in enumerate(manifests) if manifest is not None}
    parents: list[int | None] = []
    for index, (entry, manifest) in enumerate(zip(entries, manifests, strict=True)):
        if manifest is None or entry.step is not None:
            parents.append(index - 1 if index else None)
        else:
            parents.append(_nearest_ancestor(manifest, known, places))
    return parents


def _nearest_ancestor(manifest: Manifest, known: dict[str, Manifest], places: dict[str, int]) -> int | None:
    """Breadth first, so that a checkpoint's own start comes before what that was made from."""
    waiting, seen = list(manifest.upstream.values()), {manifest.identity}
    while waiting:
        identity = waiting.pop(0)
        if identity in seen:
            continue
        seen.add(identity)
        if identity in places:
            return places[identity]
        if identity in known:
            waiting += known[identity].upstream.values()
    return None


def _check_same_tokens(before: Subject, after: Subject) -> None:
    if before.rows.tokens.names != after.rows.tokens.names:
        raise InputError(
            f"its new tokens are not those of {before.label}, which comes before it",
            where=str(after.rows.folder),
            remedy="a trajectory follows the same tokens: diagnose these checkpoints apart",
        )
