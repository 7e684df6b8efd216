"""The members that ``--of`` names: baselines and checkpoints, found and checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gti_cli.baselines.base import EMBEDDINGS
from gti_cli.baselines.run import CONTENT_KNN
from gti_cli.blending.options import BASELINES
from gti_cli.blends.stored_blend import find_member_checkpoint
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.hub import checkpoint_names
from gti_cli.errors import InputError, list_some
from gti_cli.tables.cold_start.held_out_items import HeldOutItems, read_held_out
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace
from gti_cli.workspace.manifest import Manifest


@dataclass(frozen=True)
class ChosenMembers:
    """The members of a blend.

    Attributes:
        names: All of them, in the order in which they were given.
        checkpoints: The checkpoints among them, by name.
        held_out: The items that the checkpoints have learned nothing about; None: there are none.
    """

    names: tuple[str, ...]
    checkpoints: dict[str, Checkpoint]
    held_out: HeldOutItems | None = None

    @property
    def baselines(self) -> list[str]:
        """The baselines among them."""
        return [name for name in self.names if name not in self.checkpoints]


def choose_members(space: Workspace, given: Sequence[str], ids: Manifest) -> ChosenMembers:
    """Find the members.

    Args:
        space: The workspace.
        given: Names of baselines, names of checkpoints in the workspace, or paths of checkpoints.
        ids: Manifest of the workspace's semantic IDs.

    Raises:
        InputError: When there are fewer than two, one is unknown or given twice, or a checkpoint does not fit.
    """
    names = [name if name in BASELINES else Path(name).absolute().name for name in given]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise InputError(f"--of names {list_some(repeated)} twice", remedy="give each member once, by its own name")
    if len(names) < 2:
        raise InputError(
            f"--of names {len(names)} member{'' if len(names) == 1 else 's'}, and a blend mixes at least two",
            remedy="give for example --of finetuned,item-knn",
        )
    unknown = [name for name in given if name not in BASELINES and not _is_checkpoint(space, name)]
    if unknown:
        there = ", ".join(checkpoint_names(space)) or "none"
        raise InputError(
            f"--of names {list_some(unknown)}, which is neither a baseline nor a checkpoint of {space.root}",
            remedy=f"baselines: {', '.join(BASELINES)}; checkpoints: {there}",
        )
    if CONTENT_KNN in names and not space.path(EMBEDDINGS).is_file():
        raise InputError(
            "content-knn needs the embeddings of the items, and the workspace has none",
            where=str(space.path(EMBEDDINGS)),
            remedy="run 'gti build-ids' again with --force, or leave content-knn out",
        )
    checkpoints = {
        name: find_member_checkpoint(space, place, ids)
        for name, place in zip(names, given, strict=True)
        if name not in BASELINES
    }
    return ChosenMembers(tuple(names), checkpoints, _common_split(checkpoints))


def _common_split(checkpoints: Mapping[str, Checkpoint]) -> HeldOutItems | None:
    """The split by items of all checkpoints; refused where they disagree: one would know what is new to another."""
    splits = {name: read_held_out(found.path) for name, found in checkpoints.items()}
    first, *others = splits.items() or [("", None)]
    different = [name for name, held in others if held != first[1]]
    if different:
        raise InputError(
            f"{list_some([first[0], *different])} were trained with different items held out",
            remedy="blend checkpoints with the same --hold-out-items, or with none",
        )
    return first[1]


def _is_checkpoint(space: Workspace, name: str) -> bool:
    inside = Path(name).name == name and (space.path(name) / CHECKPOINT_MANIFEST).is_file()
    return inside or Path(name).is_dir()
