"""Cases in which a stage refuses to write (over its input, through a link, without ``--force``) or start (blends)."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from gti_cli.errors import InputError
from gti_cli.workspace.manifest import Manifest
from gti_cli.workspace.names import GROUPS
from gti_cli.workspace.stage_run import StageRequest


def refuse_to_overwrite_inputs(root: Path, request: StageRequest) -> None:
    """Refuse to overwrite an input, even with ``--force``: the user may have no other copy of it.

    Raises:
        InputError: When an output in the workspace ``root`` has the path of an input, or is a folder that holds one.
    """
    targets = [(root / output).resolve() for output in (*request.outputs, request.manifest_path)]
    for entry in request.inputs.values():
        for target, path in product(targets, (Path(file).resolve() for file in entry.get("files", [entry["path"]]))):
            if path == target or target in path.parents:
                raise InputError(
                    f"this is an input of the command, and {request.command!r} would write {target.name} there",
                    where=str(entry["path"]),
                    remedy="use another --workspace",
                )


def refuse_links(root: Path) -> None:
    """Refuse a workspace whose folders of several artifacts, or whose internal folders, are symbolic links.

    What is written there would lie somewhere else, perhaps over files of others. The workspace itself may be a link.

    Raises:
        InputError: When one of them is a link.
    """
    state = root / ".gti"
    for path in (state, *(root / name for name in GROUPS), *state.glob("*")):
        if path.is_symlink():
            raise InputError(
                "this is a symbolic link, and gti writes nothing outside the workspace",
                where=str(path),
                remedy="put a folder in its place, or make the workspace itself a link",
            )


def refuse_to_replace(root: Path, request: StageRequest, existing: Manifest | None) -> None:
    """Refuse to replace existing outputs; with ``--force`` this function is not called.

    Args:
        root: The workspace.
        request: What the stage is about to make.
        existing: The manifest of the artifact with the same name, if there is one.

    Raises:
        InputError: When that artifact was made from other inputs or with other options.
        InputError: When a file exists in the place of an output and no manifest lists it.
    """
    if existing is not None and existing.details.get("first_request") == request.digest:
        added = sum(int(batch["items"]) for batch in existing.details["batches"])
        raise InputError(
            f"{root / request.name} was made already in this way, and {added:,} items were added with --reuse since",
            remedy="nothing to do, or pass --force to build all again, without the added items",
        )
    if existing is not None:
        flag = "--workspace" if request.command == "build-ids" else "--name or --workspace"
        raise InputError(
            f"{root / request.name} was made already, {existing.difference(request.payload())}",
            remedy=f"pass --force to replace it, or another {flag} to keep both ({request.command})",
        )
    present = [output for output in request.outputs if (root / output).exists()]
    if present:
        raise InputError(
            f"{root / present[0]} exists without a manifest (not written by a finished {request.command!r})",
            remedy="move it away, or pass --force to replace it",
        )


def refuse_blend(manifest: Manifest, folder: Path) -> None:
    """Refuse a blend where a checkpoint is asked for.

    Raises:
        InputError: When `gti blend` wrote the artifact in ``folder``.
    """
    if manifest.command == "blend":
        name = manifest.name
        raise InputError(
            f"{name!r} is a blend of several recommenders, and no checkpoint",
            where=str(folder),
            remedy=f"name a checkpoint; 'gti evaluate {name}' and 'gti recommend {name}' take the blend",
        )
