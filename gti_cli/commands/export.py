"""`gti export`: what other tools read, out of a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, CommonOptions, WorkspaceOption, expand_options
from gti_cli.errors import InputError
from gti_cli.recommendation.options import TaskOptions

if TYPE_CHECKING:
    from gti_cli.workspace import Workspace

KINDS = ("index", "catalog", "conversations")
_CHAT = "With conversations"


def _export(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help='index: the semantic IDs as LC-Rec\'s JSON {"item": ["<a_12>", ...]}; catalog: the tuples that exist, '
            'as serving engines read them {"12,3,...": "item"}; conversations: the rows that finetune would train on, '
            "as chat (TRL, LLaMA-Factory, axolotl).",
            show_default=False,
        ),
    ],
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="[CKPT]",
            help="With catalog: also print the command that serves this checkpoint with it. With conversations: what "
            "is to be trained (default: grounded).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (must be given).", show_default=False)
    ] = None,
    interactions: Annotated[
        Path | None, typer.Option("--interactions", help="As for finetune.", rich_help_panel=_CHAT)
    ] = None,
    queries: Annotated[Path | None, typer.Option("--queries", help="As for finetune.", rich_help_panel=_CHAT)] = None,
    tasks: TaskOptions = TaskOptions(),
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    common: CommonOptions = CommonOptions(),
) -> None:
    """Write what other tools read."""
    common.configure_console()
    output = _check(what, output, common.force)
    if what == "conversations":
        _conversations(output, workspace, interactions, queries, checkpoint, tasks, common.seed)
        return
    if interactions is not None or queries is not None or tasks != TaskOptions():
        raise InputError(f"{what} takes no tables and no options of tasks", remedy="use them with conversations")
    _ids(what, output, workspace, checkpoint)


export = expand_options(_export, {TaskOptions: _CHAT}, common=("seed", "json_output", "quiet", "force"))


def _ids(what: str, output: Path, workspace: Path, checkpoint: str | None) -> None:
    """Write the index or the catalogue, and the command that serves ``checkpoint`` with it."""
    from gti_cli import tables
    from gti_cli.semantic_ids.index_file import write_index
    from gti_cli.semantic_ids.serving import write_catalog
    from gti_cli.workspace import Workspace

    space = Workspace(workspace)
    made = space.require("semantic_ids", "gti build-ids")
    ids = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    told: dict[str, Any] = {"output": str(output), "items": len(ids.item_ids), "levels": ids.levels}
    if what == "catalog" and checkpoint is not None:
        told["command"] = _serve(space, checkpoint, list(made.details["sizes"]), output)
    if what == "index":
        write_index(output, ids.item_ids, ids.tokens)
    else:
        write_catalog(output, ids.item_ids, ids.codes)
    console.say(f"{output}  ({len(ids.item_ids):,} items, {ids.levels} levels)")
    if "command" in told:
        console.say(told["command"])
    console.result({**told, "from": made.identity})


def _conversations(
    output: Path,
    workspace: Path,
    interactions: Path | None,
    queries: Path | None,
    checkpoint: str | None,
    tasks: TaskOptions,
    seed: int,
) -> None:
    """Write the rows, and say what reads them."""
    from gti_cli.recommendation.conversations import export_conversations

    counts = export_conversations(
        output, workspace, interactions, queries, checkpoint=checkpoint, options=tasks, seed=seed
    )
    rows = counts.pop("rows")
    if tasks.tasks is not None and any(":" in task for task in tasks.tasks):
        console.note("each row is written once: the weights of --tasks are for whoever trains on them")
    console.table("Conversations", ["question", "rows"], [[kind, count] for kind, count in counts.items()])
    console.say(
        f"{output}  ({rows:,} rows: task, messages of role and content)\n"
        "TRL reads it as it is; LLaMA-Factory with formatting: sharegpt, role_tag: role, content_tag: content; "
        "axolotl with type: chat_template. Train on the assistant's turn alone."
    )
    console.result({"output": str(output), "rows": rows, "kinds": counts})


def _check(what: str, output: Path | None, force: bool) -> Path:
    if what not in KINDS:
        raise InputError(f"{what!r} cannot be exported", remedy=f"use {', '.join(KINDS)}")
    if output is None:
        raise InputError("nothing says where to write", remedy="give -o FILE")
    if output.is_dir():
        raise InputError("this is a folder", where=str(output), remedy="give -o the name of a file")
    if output.exists() and not force:
        raise InputError("the file is there already", where=str(output), remedy="pass --force to replace it")
    if not output.parent.is_dir():
        raise InputError("no such folder", where=str(output.parent), remedy="make it first")
    return output


def _serve(space: Workspace, checkpoint: str, sizes: list[int], catalog: Path) -> str:
    """The command line of FlashRec for this checkpoint."""
    from gti_cli.checkpoints.loading import check_same_ids, find_checkpoint
    from gti_cli.checkpoints.new_tokens import boundary_ids, code_ids
    from gti_cli.semantic_ids.serving import flashrec_flags

    found = find_checkpoint(space, checkpoint, checkpoint, "gti finetune")
    check_same_ids(found, space.require("semantic_ids", "gti build-ids"))
    tokens = found.item_tokens()
    flags, problem = flashrec_flags(code_ids(tokens, sizes), boundary_ids(tokens))
    if problem:
        console.warn(problem)
    return " ".join(["flashrec --serve --model-path", found.path, "--sid-vocab-file", str(catalog), *flags])
