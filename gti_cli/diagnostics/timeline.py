"""Checkpoints in time: which was trained from which, by their manifests or by the steps in their folders' names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gti_cli.diagnostics.inputs import DiagnosedCheckpoint
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

_STEP = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class CheckpointPath:
    """A checkpoint that was given as an argument, or that lies in a folder that was given.

    Attributes:
        path: As `inputs.find_local_checkpoint` takes it.
        step: Training step, from the name of a ``checkpoint-N`` folder. None for other folders.
        group: Number of the argument whose folder holds the checkpoint. None where the argument is the checkpoint.
    """

    path: str
    step: int | None = None
    group: int | None = None


@dataclass(frozen=True)
class TimelineCheckpoint:
    """A checkpoint with its place in time.

    Checkpoints form trees: several checkpoints may be trained from the same one. The checkpoints from a root of such a
    tree to one of its leaves are a *line*.

    Attributes:
        checkpoint: What was read of it.
        step: As in `CheckpointPath`.
        previous: The checkpoint that it was trained from, among those given. None for a root.
        position: Place on the time axis. 0 for a root, and one more for each stage. The ``checkpoint-N`` folders of a
            stage lie in between, in proportion to their steps.
    """

    checkpoint: DiagnosedCheckpoint
    step: int | None
    previous: TimelineCheckpoint | None
    position: float

    @property
    def start(self) -> TimelineCheckpoint:
        """The root that it descends from; itself for a root."""
        return self if self.previous is None else self.previous.start

    @property
    def line(self) -> list[TimelineCheckpoint]:
        """The checkpoints from the root to this one."""
        return [*(self.previous.line if self.previous else []), self]


def expand_folders(space: Workspace, paths: Sequence[str]) -> list[CheckpointPath]:
    """Replace each folder that holds ``checkpoint-N`` folders by these, in the order of N.

    The folder itself follows them where it is a checkpoint, too, as a Trainer's output folder is after its end.
    """
    expanded = []
    for number, path in enumerate(paths):
        folder = Path(path) if Path(path).is_dir() else space.path(path)
        inner = folder.iterdir() if folder.is_dir() else ()
        steps = sorted((int(match[1]), str(entry)) for entry in inner if (match := _STEP.fullmatch(entry.name)))
        if not steps:
            expanded.append(CheckpointPath(path))
            continue
        expanded += [CheckpointPath(inner_path, step, number) for step, inner_path in steps]
        if (folder / "config.json").is_file():
            expanded.append(CheckpointPath(path, None, number))
    return expanded


def build_timeline(
    space: Workspace, paths: Sequence[CheckpointPath], checkpoints: Sequence[DiagnosedCheckpoint]
) -> list[TimelineCheckpoint]:
    """Put checkpoints in time, each behind the one that it was trained from.

    The predecessor of a checkpoint with a manifest is the nearest of its ancestors that was given. The predecessor of a
    checkpoint without a manifest, or of a ``checkpoint-N`` folder, is the checkpoint before it in the order given.

    Args:
        space: The workspace, whose manifests link checkpoints over ancestors that were not given.
        paths: Where the checkpoints lie.
        checkpoints: What was read of each of ``paths``, in the same order.

    Returns:
        The checkpoints, predecessors first.

    Raises:
        InputError: When a checkpoint and its predecessor have different new tokens, so that rows cannot be compared.
    """
    predecessors = _predecessors(space, paths, checkpoints)
    last_steps = {path.group: path.step or 0 for path in paths if path.step is not None}
    placed: dict[int, TimelineCheckpoint] = {}

    def place(index: int) -> TimelineCheckpoint:
        """Place a checkpoint, and before it the one that it was trained from."""
        if index not in placed:
            path, predecessor = paths[index], predecessors[index]
            previous = None if predecessor is None else place(predecessor)
            if previous is not None:
                _check_same_tokens(previous.checkpoint, checkpoints[index])
            # A root stands at 0. The first checkpoint of a folder is no root in this sense: its training began before.
            is_root = previous is None and path.group is None
            share = 1.0 if path.step is None else path.step / max(last_steps[path.group], 1)
            position = 0.0 if is_root else _start_position(paths, predecessors, index, placed) + share
            placed[index] = TimelineCheckpoint(checkpoints[index], path.step, previous, position)
        return placed[index]

    timeline = [place(index) for index in range(len(paths))]
    return sorted(timeline, key=lambda entry: len(entry.line))


def _start_position(
    paths: Sequence[CheckpointPath],
    predecessors: Sequence[int | None],
    index: int,
    placed: dict[int, TimelineCheckpoint],
) -> float:
    """Position at which the training of a checkpoint began; the checkpoints of one folder share their beginning."""
    group, predecessor = paths[index].group, predecessors[index]
    while predecessor is not None and group is not None and paths[predecessor].group == group:
        predecessor = predecessors[predecessor]
    return 0.0 if predecessor is None else placed[predecessor].position


def _predecessors(
    space: Workspace, paths: Sequence[CheckpointPath], checkpoints: Sequence[DiagnosedCheckpoint]
) -> list[int | None]:
    """For each checkpoint the number of the one that it was trained from, None for a root."""
    manifests = [checkpoint.manifest for checkpoint in checkpoints]
    by_identity = {manifest.identity: manifest for manifest in space.manifests().values()}
    by_identity.update({manifest.identity: manifest for manifest in manifests if manifest is not None})
    given = {manifest.identity: index for index, manifest in enumerate(manifests) if manifest is not None}
    predecessors: list[int | None] = []
    for index, (path, manifest) in enumerate(zip(paths, manifests, strict=True)):
        if manifest is None or path.step is not None:
            predecessors.append(index - 1 if index else None)
        else:
            predecessors.append(_nearest_ancestor(manifest, by_identity, given))
    return predecessors


def _nearest_ancestor(manifest: Manifest, by_identity: dict[str, Manifest], given: dict[str, int]) -> int | None:
    """The number of the nearest ancestor among ``given``, by breadth-first search; None where there is none."""
    waiting, seen = list(manifest.upstream.values()), {manifest.identity}
    while waiting:
        identity = waiting.pop(0)
        if identity in seen:
            continue
        seen.add(identity)
        if identity in given:
            return given[identity]
        if identity in by_identity:
            waiting += by_identity[identity].upstream.values()
    return None


def _check_same_tokens(before: DiagnosedCheckpoint, after: DiagnosedCheckpoint) -> None:
    if before.rows.tokens.names != after.rows.tokens.names:
        raise InputError(
            f"its new tokens differ from those of {before.label}, which comes before it",
            where=str(after.rows.folder),
            remedy="a trajectory follows the same tokens: diagnose these checkpoints separately",
        )
