"""``gti export conversations``: the examples that `finetune` would train on, as chat messages for other tools.

Each target is one row with ``messages``, a list of ``{"role": …, "content": …}`` (system, user, assistant; no system
message where the checkpoint's chat template refuses it, see `gti_cli.prompts.chat.turns`), and ``task``. Rendered by
that template, the messages are token by token the example that `finetune` trains on; where they are not, a warning says
how they differ. Where the template thinks unless it is told otherwise, each row has ``chat_template_kwargs``, too,
which TRL passes on to it. Only the assistant's turn is to be trained on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console, tables
from gti_cli.checkpoints.finding import check_same_ids, find_checkpoint
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.errors import InputError
from gti_cli.options import check_seed
from gti_cli.prompts.chat import template_options
from gti_cli.prompts.conversations import rendered_otherwise
from gti_cli.recommendation.options import FinetuneOptions, TaskOptions
from gti_cli.recommendation.task_data import read_task_data
from gti_cli.recommendation.tasks import Task, make_tasks, task_conversations
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import Workspace
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

ENDINGS = (".parquet", ".jsonl")


def export_conversations(
    output: Path,
    workspace: Path | str,
    interactions: Path | str | None = None,
    queries: Path | str | None = None,
    *,
    checkpoint: str | None = None,
    options: TaskOptions | None = None,
    reading: InteractionOptions = InteractionOptions(),
    seed: int = 0,
    columns: str | None = None,
) -> dict[str, int]:
    """Write the training rows of the tasks as conversations.

    Args:
        output: The file, ``.parquet`` or ``.jsonl``.
        workspace: Folder of the workspace.
        interactions: Table of interactions, as for `finetune`.
        queries: Table of queries, as for `finetune`.
        checkpoint: Checkpoint that is to be trained. None: ``grounded``. Its tokenizer decides where texts are cut.
        options: As for `finetune`. Weights of the tasks have no effect: each row is written once.
        reading: How the interactions are read, as for `finetune`.
        seed: Seed of samples; the same seed gives the samples of `finetune`.
        columns: What the columns of the tables are called, see `gti_cli.tables.locate`.

    Returns:
        Number of rows of each kind of conversation, and of all as ``rows``.

    Raises:
        InputError: When `finetune` would refuse the input, or the file has another ending.
    """
    options = options or TaskOptions()
    FinetuneOptions(**vars(options)).check()
    check_seed(seed)
    reading.check(reads_table=interactions is not None)
    if output.suffix not in ENDINGS:
        raise InputError(
            f"the ending {output.suffix!r} is not known", where=str(output), remedy="write a .parquet or .jsonl file"
        )
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    source = find_checkpoint(space, checkpoint, "grounded", "gti ground", weights=False)
    check_same_ids(source, ids)
    code_ids(source.item_tokens(), ids.details["sizes"])  # refuses a checkpoint without these tokens
    interactions, queries = tables.locate_all([interactions, queries], columns)
    data = read_task_data(space, interactions, queries, options.tasks, reading)
    tokenizer = load_tokenizer(source.path)
    check_tokenizer(tokenizer, source.item_tokens())
    tasks = make_tasks(data, tokenizer, options, seed)
    counts: Counter[str] = Counter()
    told = template_options(tokenizer)
    with replacing(output) as temporary:
        rows = _rows(tasks, data.catalogue.tokens, tokenizer, told, counts)
        if output.suffix == ".parquet":
            _write_parquet(temporary, rows, _schema(told))
        else:
            _write_json(temporary, rows)
    if told:
        console.note(
            "the chat template thinks unless it is told otherwise: the rows have chat_template_kwargs, which TRL "
            f"passes on; give other tools the same ({json.dumps(told)})"
        )
    return {**counts, "rows": counts.total()}


def _rows(
    tasks: Sequence[Task],
    tokens: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    told: Mapping[str, bool],
    counts: Counter[str],
) -> Iterator[dict[str, Any]]:
    """Each row, and a warning where other tools make other tokens of it than we train on.

    Args:
        tasks: The tasks.
        tokens: The tokens of each item.
        tokenizer: Tokenizer of the checkpoint.
        told: Options that its chat template needs.
        counts: Gets the number of rows of each kind.

    Yields:
        ``messages``, ``task`` and, where there are options, ``chat_template_kwargs``.
    """
    more = {"chat_template_kwargs": dict(told)} if told else {}
    differences: set[str] = set()
    for task in tasks:
        for conversation in task_conversations(task, tokens):
            if not counts[conversation.kind]:  # one conversation of each kind is compared
                difference = rendered_otherwise(tokenizer, conversation)
                if difference is not None and difference not in differences:
                    console.warn(f"other tools make other tokens of these rows than finetune trains on: {difference}")
                    differences.add(difference)
            counts[conversation.kind] += 1
            yield {"messages": conversation.messages(tokenizer), "task": task.name, **more}


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


def _schema(told: Mapping[str, bool]) -> pa.Schema:
    """The columns of the file; ``told`` are the options of the chat template."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    more = [("chat_template_kwargs", pa.struct([(name, pa.bool_()) for name in told]))] if told else []
    return pa.schema([("messages", pa.list_(message)), ("task", pa.string()), *more])
