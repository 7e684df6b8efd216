"""`gti evaluate --hold-out-items`: the split by items that the evaluated checkpoint or blend was made with.

The split is read from the folder of the checkpoint, so nobody can give another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gti_cli import console
from gti_cli.blends.stored_blend import blend_name
from gti_cli.errors import InputError, list_some
from gti_cli.tables.cold_start.held_out_items import DETAIL, HeldOutItems, read_held_out
from gti_cli.workspace import Workspace


def find_held_out(folder: Path | str, *, is_wanted: bool) -> HeldOutItems | None:
    """The split of a checkpoint or a blend, where the evaluation is of held-out items.

    Where it is not, but there is a split, a warning says so: the evaluation then has targets that the method could not
    learn about, beside baselines that could.

    Args:
        folder: Folder of the checkpoint or the blend.
        is_wanted: Whether ``--hold-out-items`` was given.

    Raises:
        InputError: When the split is wanted, and there is none.
    """
    held = read_held_out(folder)
    if is_wanted and held is None:
        raise InputError(
            "it was trained on all items: none is held out",
            where=str(folder),
            remedy="train with 'gti finetune --hold-out-items 0.1', or evaluate without --hold-out-items",
        )
    if is_wanted or held is None:
        return held
    console.warn(
        f"{Path(folder).name} never saw an interaction with {len(held.all):,} items, and the baselines here learn from "
        "all: --hold-out-items compares both alike"
    )
    return None


def unseen_detail(folder: Path | str, held: HeldOutItems | None) -> dict[str, Any]:
    """What the manifest of an ordinary evaluation says of a method that never saw some items."""
    unseen = read_held_out(folder) if held is None else None
    return {} if unseen is None else {"never_seen_items": unseen.recorded()}


def recorded_split(held: HeldOutItems | None) -> dict[str, Any]:
    """The split as an option of the evaluation: another split is another evaluation."""
    return {} if held is None else {DETAIL: held.recorded()}


def split_of_all(space: Workspace, given: Sequence[str]) -> dict[str, Any]:
    """The split that several checkpoints or blends have in common, as `recorded_split` gives it.

    Args:
        space: The workspace.
        given: Names or paths, as given on the command line.

    Raises:
        InputError: When one of them has none, or they have different ones.
    """
    records: dict[str, dict[str, Any]] = {}
    for name in given:
        blend = blend_name(space, name)
        inside = space.path(blend or name)
        held = find_held_out(inside if inside.is_dir() else name, is_wanted=True)
        records[name] = recorded_split(held)
    first = records[given[0]]
    different = [name for name, record in records.items() if record != first]
    if different:
        raise InputError(
            f"{list_some([given[0], *different])} were trained with different items held out",
            remedy="evaluate each on its own, or train all with the same --hold-out-items",
        )
    return first
