"""The functions that read files of users, each on bytes: they return, or raise `InputError`, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from gti_cli import tables
from gti_cli.checkpoints.configuration import check_number_formats, read_config_file
from gti_cli.errors import InputError
from gti_cli.prompts.templates import read_templates
from gti_cli.semantic_ids.index_file import read_index
from gti_cli.tables.histories import read_interactions
from gti_cli.tensors.safetensors_rows import read_header, read_metadata
from gti_cli.workspace.manifest import read_manifest
from tests.support.bad_input.tables import COLUMNS, csv_text, jsonl


def _every_column(path: Path) -> None:
    """Read a table, and each of its columns in each way."""
    table = tables.read(path)
    for name in table.column_names:
        for read in (tables.ids, tables.strings, tables.integers):
            try:
                read(table, name, path)
            except InputError:
                continue


def _config(path: Path) -> None:
    check_number_formats(read_config_file(path), str(path))


def _index(path: Path) -> None:
    read_index(path, ["1"])


def _interactions(path: Path) -> None:
    read_interactions(path, COLUMNS["items"]["item_id"])


# Ending of the file -> the functions that read it.
READERS: dict[str, tuple[Callable[[Path], object], ...]] = {
    "csv": (_every_column, _interactions),
    "tsv": (_every_column,),
    "jsonl": (_every_column, _interactions),
    "parquet": (_every_column,),
    "arrow": (_every_column,),
    "csv.gz": (_every_column,),
    "jsonl.zst": (_every_column,),
    "json": (read_templates, read_manifest, _index, _config),
    "safetensors": (read_header, read_metadata),
}


def seeds() -> dict[str, list[bytes]]:
    """Valid files of each ending, from which wrong ones are made."""
    import gzip
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save

    columns = COLUMNS["interactions"]
    table, parquet, arrow = pa.table(columns), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    wordings = {"system": "x", "text->tokens": {"title": "Which? {text}"}}
    return {
        "csv": [csv_text(columns).encode(), b'item_id,title\n1,"a, b"\n2,"c\nd"\n'],
        "tsv": [csv_text(columns, "\t").encode()],
        "jsonl": [jsonl(columns), b'{"a": [1, {"b": null}], "item_id": "x"}\n'],
        "parquet": [parquet.getvalue()],
        "arrow": [arrow.getvalue()],
        "csv.gz": [gzip.compress(csv_text(columns).encode())],
        "jsonl.zst": [bytes(pa.compress(jsonl(columns), codec="zstd", asbytes=True))],
        "json": [
            json.dumps(wordings).encode(),
            b'{"1": ["<a_1>", "<b_2>"]}',
            b'{"dtype": "float32", "text_config": {}}',
        ],
        "safetensors": [save({"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.int64)}, {"format": "pt"})],
    }


def read_all(ending: str, content: bytes, folder: Path) -> None:
    """Let every reader of an ending read some bytes; any other error than `InputError` passes through."""
    path = folder / f"t.{ending}"
    path.write_bytes(content)
    for read in READERS[ending]:
        try:
            read(path)
        except InputError as error:
            assert "\n" not in str(error) and str(path) in str(error), str(error)
