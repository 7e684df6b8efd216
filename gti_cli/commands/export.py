"""`gti export`: what other tools read, out of a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gti_cli import console
from gti_cli.commands.common import DEFAULT_WORKSPACE, ForceOption, JsonOption, QuietOption, WorkspaceOption
from gti_cli.errors import InputError

KINDS = ("index",)


def export(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help='index: the semantic IDs as LC-Rec\'s JSON {"item": ["<a_12>", ...]}.',
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    force: ForceOption = False,
) -> None:
    """Write what other tools read."""
    console.configure(quiet=quiet, json_output=json_output)
    if what not in KINDS:
        raise InputError(f"{what!r} cannot be exported", remedy=f"use {' or '.join(KINDS)}")
    if output.is_dir():
        raise InputError("this is a folder", where=str(output), remedy="give -o the name of a file")
    if output.exists() and not force:
        raise InputError("the file is there already", where=str(output), remedy="pass --force to replace it")
    if not output.parent.is_dir():
        raise InputError("no such folder", where=str(output.parent), remedy="make it first")
    from gti_cli import tables
    from gti_cli.semantic_ids.index_file import write_index
    from gti_cli.workspace import Workspace

    space = Workspace(workspace)
    made = space.require("semantic_ids", "gti build-ids")
    ids = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    write_index(output, ids.item_ids, ids.tokens)
    console.say(f"{output}  ({len(ids.item_ids):,} items, {ids.levels} levels)")
    console.result({"output": str(output), "items": len(ids.item_ids), "levels": ids.levels, "from": made.identity})
