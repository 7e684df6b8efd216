"""When a stage must not write: over its own input, or over what is there, unless it is told to."""

from __future__ import annotations

from pathlib import Path

from gti_cli.errors import InputError
from gti_cli.workspace.manifest import Manifest
from gti_cli.workspace.staging import StageRequest


def check_inputs_stay(root: Path, asked: StageRequest) -> None:
    """Refuse to write over an input, which ``--force`` allows as little: the caller may have no other copy of it.

    Raises:
        InputError: an input is an output's place in the workspace ``root``, or lies inside it.
    """
    places = [(root / output).resolve() for output in (*asked.outputs, asked.manifest_path)]
    for entry in asked.inputs.values():
        path = Path(entry["path"]).resolve()
        for place in places:
            if path == place or place in path.parents:
                raise InputError(
                    f"that is an input of this command, and {asked.command!r} writes {place.name} there",
                    where=str(entry["path"]),
                    remedy="use another --workspace",
                )


def refuse_to_replace(root: Path, asked: StageRequest, existing: Manifest | None) -> None:
    """Refuse to replace what is there, which only ``--force`` allows.

    Raises:
        InputError: an artifact of that name from other inputs or options, or a file that no manifest tells of.
    """
    if existing is not None and existing.details.get("first_request") == asked.digest:
        added = sum(int(batch["items"]) for batch in existing.details["batches"])
        raise InputError(
            f"{root / asked.name} was made already so, and {added:,} items were added with --reuse since",
            remedy="nothing to do, or pass --force to build all anew, without the added items",
        )
    if existing is not None:
        other = "--workspace" if asked.command == "build-ids" else "--name or --workspace"
        raise InputError(
            f"{root / asked.name} was made already, {existing.difference(asked.payload())}",
            remedy=f"pass --force to replace it, or another {other} to keep both ({asked.command})",
        )
    present = [output for output in asked.outputs if (root / output).exists()]
    if present:
        raise InputError(
            f"{root / present[0]} is there without a manifest (not written by a finished {asked.command!r})",
            remedy="move it away, or pass --force to replace it",
        )
