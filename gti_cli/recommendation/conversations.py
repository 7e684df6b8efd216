"""Stage code of ``gti export conversations``: what `finetune` would train on, in the chat form that other tools read.

One row a target: ``messages``, a list of ``{"role": …, "content": …}`` (system, user, assistant; no system where the
checkpoint's chat template refuses it, see `gti_cli.prompts.chat.turns`), and ``task``. The conversation rendered by
that template is, token by token, the example that `finetune` trains on; only the assistant's turn is to be trained on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.checkpoints.finding import check_same_ids, find_checkpoint
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.errors import InputError
from gti_cli.options import check_seed
from gti_cli.recommendation.material import gather
from gti_cli.recommendation.options import FinetuneOptions, TaskOptions
from gti_cli.recommendation.tasks import Task, in_words, make_tasks
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
    seed: int = 0,
) -> dict[str, int]:
    """Write the training rows of the tasks as conversations.

    Args:
        output: the file, ``.parquet`` or ``.jsonl``. interactions, queries: tables as `finetune` reads them.
        checkpoint: what is to be trained (None: ``grounded``); its tokenizer decides where texts are cut.
        options: as for `finetune`; weights of the tasks have no effect, each row is written once.
        seed: draws what `finetune` draws with the same seed.

    Returns:
        rows of each kind of question, and ``rows``, all of them.

    Raises:
        InputError: whatever `finetune` would refuse; another ending of the file; a seed out of range.
    """
    options = options or TaskOptions()
    FinetuneOptions(**vars(options)).check()
    check_seed(seed)
    if output.suffix not in ENDINGS:
        raise InputError(
            f"the ending {output.suffix!r} is not known", where=str(output), remedy="write a .parquet or .jsonl file"
        )
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    found = find_checkpoint(space, checkpoint, "grounded", "gti ground")
    check_same_ids(found, ids)
    code_ids(found.item_tokens(), ids.details["sizes"])
    material = gather(space, interactions, queries, options.tasks)
    tokenizer = load_tokenizer(found.path)
    check_tokenizer(tokenizer, found.item_tokens())
    tasks = make_tasks(material, tokenizer, options, seed)
    counts: Counter[str] = Counter()
    write = _write_parquet if output.suffix == ".parquet" else _write_json
    with replacing(output) as temporary:
        write(temporary, _rows(tasks, material.catalogue.tokens, tokenizer, counts))
    return {**counts, "rows": counts.total()}


def _rows(
    tasks: Sequence[Task], tokens: Sequence[str], tokenizer: PreTrainedTokenizerBase, counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    """``messages`` and ``task`` of each row; ``counts`` are kept by kind."""
    for task in tasks:
        for conversation in in_words(task, tokens):
            counts[conversation.kind] += 1
            yield {"messages": conversation.messages(tokenizer), "task": task.name}


def _write_json(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], block: int = 20_000) -> None:
    """Written in blocks of rows, so that memory holds one of them and not all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, _schema(), compression="zstd") as writer:
        part: list[dict[str, Any]] = []
        for row in rows:
            part.append(row)
            if len(part) == block:
                writer.write_table(pa.Table.from_pylist(part, _schema()))
                part = []
        writer.write_table(pa.Table.from_pylist(part, _schema()))


def _schema() -> pa.Schema:
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    return pa.schema([("messages", pa.list_(message)), ("task", pa.string())])
