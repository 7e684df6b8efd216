"""`gti export`: write files for other tools."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, TABLE, CommonOptions, WorkspaceOption, expand_options
from gti_cli.errors import InputError
from gti_cli.exporting.engines import ENGINES, TITLES
from gti_cli.prompts.conversation_rows import FORMATS, MESSAGES, PROMPT_COMPLETION
from gti_cli.recommendation.options import TaskOptions
from gti_cli.tables.equal_times import InteractionOptions

if TYPE_CHECKING:
    from gti_cli.prompts.conversation_rows import Exported

KINDS = ("index", "catalog", "conversations", "recommender")
_CHAT = "With conversations"


WhatArgument = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help='index: the semantic IDs in LC-Rec\'s JSON {"item": ["<a_12>", ...]}; catalog: the semantic IDs for '
        'serving engines, as {"12,3,...": "item"} or as --engine says; conversations: the training examples of '
        "finetune as chats (for TRL, LLaMA-Factory, axolotl); recommender: a folder that gti serve, gti recommend "
        "and gti_cli.Recommender read without the workspace.",
        show_default=False,
    ),
]
CheckpointArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[CKPT]",
        help="With catalog: also print the command that serves this checkpoint, and a script that asks it with "
        "plain transformers; --engine nvidia needs it. With conversations: the checkpoint that will be trained "
        "(default: grounded). With recommender: the checkpoint or the blend (default: finetuned).",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="What to write: a file; of recommender a folder. Required.", show_default=False
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="|".join(ENGINES),
        help="With catalog: write the file that this engine reads, or say why it cannot take the catalogue.",
        show_default=False,
    ),
]
InteractionsOption = Annotated[
    str | None, typer.Option("--interactions", metavar=TABLE, help="As for finetune.", rich_help_panel=_CHAT)
]
QueriesOption = Annotated[
    str | None, typer.Option("--queries", metavar=TABLE, help="As for finetune.", rich_help_panel=_CHAT)
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="|".join(FORMATS),
        help="Rows as messages, or as a prompt and a completion with the chat template applied, which TRL reads as "
        "exactly the tokens and the loss of finetune. Default: messages.",
        show_default=False,
        rich_help_panel=_CHAT,
    ),
]
TrainingTemplateOption = Annotated[
    Path | None,
    typer.Option(
        "--training-template",
        metavar="FILE.jinja",
        help="With messages: also write a copy of the checkpoint's chat template that marks the answers, for TRL's "
        "assistant_only_loss.",
        show_default=False,
        rich_help_panel=_CHAT,
    ),
]


def _export(
    what: WhatArgument,
    checkpoint: CheckpointArgument = None,
    output: OutputOption = None,
    engine: EngineOption = None,
    interactions: InteractionsOption = None,
    queries: QueriesOption = None,
    form: FormatOption = None,
    training_template: TrainingTemplateOption = None,
    tasks: TaskOptions = TaskOptions(),
    reading: InteractionOptions = InteractionOptions(),
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    common: CommonOptions = CommonOptions(),
) -> None:
    """Write files for other tools: serving engines, and trainers of chat models."""
    common.configure_console()
    output = _check_output(what, output, common.force)
    if engine is not None and what != "catalog":
        raise InputError("--engine is for catalog", remedy=f"leave it out with {what}")
    if what == "conversations":
        if training_template is not None:
            training_template = _check_output(what, training_template, common.force)
        tables = (interactions, queries)
        _export_conversations(
            output, form or MESSAGES, training_template, workspace, tables, checkpoint, tasks, reading, common
        )
        return
    given = (interactions, queries, form, training_template, common.columns, tasks, reading)
    if given != (None, None, None, None, None, TaskOptions(), InteractionOptions()):
        raise InputError(f"{what} takes no tables and no options of tasks", remedy="use them with conversations")
    if what == "index":
        _export_index(output, workspace)
    elif what == "recommender":
        _export_recommender(output, workspace, checkpoint, common.force)
    else:
        _export_catalogue(output, workspace, checkpoint, engine, common.force)


export = expand_options(
    _export,
    {TaskOptions: _CHAT, InteractionOptions: _CHAT},
    common=("seed", "columns", "json_output", "quiet", "force", "offline"),
)


def _export_index(output: Path, workspace: Path) -> None:
    """Write the semantic IDs as LC-Rec's index."""
    from gti_cli import tables
    from gti_cli.semantic_ids.index_file import write_index
    from gti_cli.workspace import Workspace

    space = Workspace(workspace)
    manifest = space.require("semantic_ids", "gti build-ids")
    ids = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    write_index(output, ids.item_ids, ids.tokens)
    console.say(f"{output}  ({len(ids.item_ids):,} items, {ids.levels} levels)")
    told = {"output": str(output), "items": len(ids.item_ids), "levels": ids.levels, "from": manifest.identity}
    console.result(told)


def _export_catalogue(output: Path, workspace: Path, checkpoint: str | None, engine: str | None, force: bool) -> None:
    """Write the catalogue, and print what was written and how it is served."""
    from gti_cli.exporting.export_catalogue import export_catalogue

    done = export_catalogue(output, workspace, checkpoint, engine=engine, force=force)
    if done.engine is None:
        console.say(f"{output}  ({done.items:,} items, {done.levels} levels)")
    else:
        heading = f"Catalogue for {TITLES[done.engine]}: {done.items:,} items, {done.semantic_ids:,} semantic IDs"
        rows = [[str(file.path), file.holds, file.rows, file.path.stat().st_size] for file in done.files]
        console.table(heading, ["file", "holds", "rows", "bytes"], rows)
    for line in done.use:
        console.say(line)
    if done.script:
        console.say(f"\nWith plain transformers, this Python script:\n\n{done.script}")
    console.result(done.numbers())


def _export_recommender(output: Path, workspace: Path, checkpoint: str | None, force: bool) -> None:
    """Write the folder, and print what is in it and how it is used."""
    from gti_cli.exporting.export_recommender import export_recommender

    done = export_recommender(output, workspace, checkpoint, force=force)
    heading = f"Recommender {done.manifest.name}: {done.items:,} items"
    console.table(heading, ["part", "files", "bytes"], [list(part) for part in done.parts()])
    quoted = shlex.quote(str(output))
    console.say(f"{output}  (gti serve -w {quoted}; in Python: gti_cli.Recommender.load({str(output)!r}))")
    console.result(done.numbers())


def _export_conversations(
    output: Path,
    form: str,
    template_file: Path | None,
    workspace: Path,
    tables: tuple[str | None, str | None],
    checkpoint: str | None,
    tasks: TaskOptions,
    reading: InteractionOptions,
    common: CommonOptions,
) -> None:
    """Write the conversations, and print how many there are and how other trainers read them."""
    from gti_cli.recommendation.conversations import export_conversations

    done = export_conversations(
        output,
        workspace,
        *tables,
        checkpoint=checkpoint,
        form=form,
        template_file=template_file,
        options=tasks,
        reading=reading,
        seed=common.seed,
        columns=common.columns,
    )
    if tasks.tasks is not None and any(":" in task for task in tasks.tasks):
        console.note("each row is written once; the weights in --tasks have to be applied by the trainer")
    console.table("Conversations", ["kind", "rows"], [[kind, count] for kind, count in done.kinds.items()])
    columns = "prompt, completion" if form == PROMPT_COMPLETION else "messages of role and content"
    console.say(f"{output}  ({done.rows:,} rows: task, {columns})")
    if template_file is not None:
        console.say(f"{template_file}  (chat template that marks the answers)")
    console.say(_how_to_read(done, form, template_file))
    written = {"output": str(output), "format": form}
    if template_file is not None:
        written["training_template"] = str(template_file)
    console.result({**written, **done.numbers()})


def _how_to_read(done: Exported, form: str, template_file: Path | None) -> str:
    """Return how other trainers read the rows."""
    if form == PROMPT_COMPLETION:
        told = "" if done.ends_as_trl else f", with SFTConfig(eos_token={done.end!r})"
        return (
            f"TRL reads the file as it is and trains on the completion alone{told}; LLaMA-Factory with formatting: "
            "alpaca, columns: {prompt: prompt, response: completion} and template: empty."
        )
    trl = "TRL reads the file as it is"
    if template_file is not None:
        trl = f"TRL: SFTConfig(assistant_only_loss=True, chat_template_path={str(template_file)!r})"
    return (
        f"{trl}; LLaMA-Factory with formatting: sharegpt, role_tag: role, content_tag: content; "
        "axolotl with type: chat_template. Train on the assistant's messages only."
    )


def _check_output(what: str, output: Path | None, force: bool) -> Path:
    """Return the file to write, or refuse it before anything is read."""
    if what not in KINDS:
        raise InputError(f"{what!r} cannot be exported", remedy=f"use {', '.join(KINDS)}")
    if output is None:
        raise InputError("the option -o is missing", remedy="name the file to write: -o FILE")
    if what == "recommender":
        return output  # a folder, which its stage checks
    if output.is_dir():
        raise InputError("this is a folder", where=str(output), remedy="give -o the name of a file")
    if output.exists() and not force:
        raise InputError("the file is there already", where=str(output), remedy="pass --force to replace it")
    if not output.parent.is_dir():
        raise InputError("no such folder", where=str(output.parent), remedy="create it first")
    return output
