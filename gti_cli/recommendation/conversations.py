"""``gti export conversations``: the examples that `finetune` would train on, as rows for other trainers.

Each target is one row, with ``task`` and, by the format:

- ``messages``: a list of ``{"role": …, "content": …}`` (system, user, assistant; no system message where the
  checkpoint's chat template refuses it, see `gti_cli.prompts.chat.turns`). Where the template thinks unless it is told
  otherwise, each row has ``chat_template_kwargs``, too, which TRL passes on to it. Only the assistant's turn is to be
  trained on. A copy of the template that marks it is written where asked.
- ``prompt-completion``: two texts, ``prompt`` and ``completion``. The template is already applied.

Every row is tokenised as other trainers do it, and compared with the tokens that `finetune` trains on. How many rows
differ, and how, is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import tables
from gti_cli.checkpoints.finding import check_same_ids, find_checkpoint
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.errors import InputError
from gti_cli.options import check_seed
from gti_cli.prompts.conversation_rows import FORMATS, MESSAGES, PROMPT_COMPLETION, Exported, RowMaker
from gti_cli.prompts.training_template import training_template
from gti_cli.recommendation.options import FinetuneOptions, TaskOptions
from gti_cli.recommendation.task_data import read_task_data
from gti_cli.recommendation.tasks import make_tasks, task_conversations
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import Workspace
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".parquet", ".jsonl")
TEMPLATE_ENDINGS = (".jinja", ".j2")  # other files TRL takes for the names of tokenizers


def export_conversations(
    output: Path,
    workspace: Path | str,
    interactions: Path | str | None = None,
    queries: Path | str | None = None,
    *,
    checkpoint: str | None = None,
    form: str = MESSAGES,
    template_file: Path | None = None,
    options: TaskOptions | None = None,
    reading: InteractionOptions = InteractionOptions(),
    seed: int = 0,
    columns: str | None = None,
) -> Exported:
    """Write the training rows of the tasks for other trainers.

    Args:
        output: The file, ``.parquet`` or ``.jsonl``.
        workspace: Folder of the workspace.
        interactions: Table of interactions, as for `finetune`.
        queries: Table of queries, as for `finetune`.
        checkpoint: Checkpoint that is to be trained. None: ``grounded``. Its tokenizer decides where texts are cut.
        form: ``messages`` or ``prompt-completion``.
        template_file: With ``messages``: also write a copy of the checkpoint's chat template that marks the answers
            (``.jinja``), see `gti_cli.prompts.training_template`.
        options: As for `finetune`. Weights of the tasks have no effect: each row is written once.
        reading: How the interactions are read, as for `finetune`.
        seed: Seed of samples; the same seed gives the samples of `finetune`.
        columns: What the columns of the tables are called, see `gti_cli.tables.locate`.

    Returns:
        What was written, and what other trainers make of it.

    Raises:
        InputError: When `finetune` would refuse the input, or a file or the format is not as described.
    """
    options = options or TaskOptions()
    FinetuneOptions(**vars(options)).check()
    check_seed(seed)
    reading.check(reads_table=interactions is not None)
    _check_form(output, form, template_file)
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    source = find_checkpoint(space, checkpoint, "grounded", "gti ground", weights=False)
    check_same_ids(source, ids)
    code_ids(source.item_tokens(), ids.details["sizes"])  # refuses a checkpoint without these tokens
    interactions, queries = tables.locate_all([interactions, queries], columns)
    data = read_task_data(space, interactions, queries, options.tasks, reading)
    tokenizer = load_tokenizer(source.path)
    check_tokenizer(tokenizer, source.item_tokens())
    template = training_template(tokenizer) if template_file is not None else None
    maker = RowMaker(tokenizer, form, template)
    tokens = data.catalogue.tokens
    tasks = make_tasks(data, tokenizer, options, seed)
    rows = (row for task in tasks for row in maker.rows(task.name, task_conversations(task, tokens)))
    with replacing(output) as temporary, nullcontext() if template_file is None else replacing(template_file) as copy:
        if copy is not None:
            copy.write_text(str(template), encoding="utf-8")
        if output.suffix == ".parquet":
            _write_parquet(temporary, rows, _schema(form, maker.told))
        else:
            _write_json(temporary, rows)
    maker.say_differences()
    return maker.exported


def _check_form(output: Path, form: str, template_file: Path | None) -> None:
    """Refuse a format, or the names of the files, before anything is read."""
    if output.suffix not in ENDINGS:
        raise InputError(
            f"the ending {output.suffix!r} is not known", where=str(output), remedy="write a .parquet or .jsonl file"
        )
    if form not in FORMATS:
        raise InputError(f"the format {form!r} is not known", remedy=f"use {' or '.join(FORMATS)}")
    if template_file is None:
        return
    if form != MESSAGES:
        raise InputError(
            f"{form} needs no training template: the rows say themselves what to train on",
            where=str(template_file),
            remedy="leave out --training-template, or use --format messages",
        )
    if template_file.suffix not in TEMPLATE_ENDINGS:
        raise InputError(
            f"the ending {template_file.suffix!r} is not known",
            where=str(template_file),
            remedy="call the training template something.jinja, as TRL expects it",
        )


def _write_json(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema, block: int = 20_000) -> None:
    """Write the rows in blocks, so that memory holds one block and not all rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        buffer: list[dict[str, Any]] = []
        for row in rows:
            buffer.append(row)
            if len(buffer) == block:
                writer.write_table(pa.Table.from_pylist(buffer, schema))
                buffer = []
        writer.write_table(pa.Table.from_pylist(buffer, schema))


def _schema(form: str, told: Mapping[str, bool]) -> pa.Schema:
    """The columns of the file; ``told`` are the options of the chat template."""
    import pyarrow as pa

    if form == PROMPT_COMPLETION:
        return pa.schema([(name, pa.string()) for name in ("prompt", "completion", "task")])
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    more = [("chat_template_kwargs", pa.struct([(name, pa.bool_()) for name in told]))] if told else []
    return pa.schema([("messages", pa.list_(message)), ("task", pa.string()), *more])
