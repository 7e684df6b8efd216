"""Read tables from Parquet, CSV and JSONL files, and write Parquet files.

Errors are one line that a user can act on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError, list_names, list_some
from gti_cli.tables.headers import clean_name, clean_names
from gti_cli.tables.text_files.csv_files import read_csv
from gti_cli.tables.text_files.json_lines import read_json_lines
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = (".parquet", ".pq")


def read(path: Path | str, columns: Sequence[str] = (), *, skip: Sequence[str] = ()) -> pa.Table:
    """Read a ``.parquet``, ``.csv`` or ``.jsonl`` table.

    Args:
        path: The file; its ending says its kind.
        columns: Columns that the table must have.
        skip: Columns that are not loaded, if the file is Parquet.

    Raises:
        InputError: When the file does not exist, is a folder, is damaged or has an unknown ending.
        InputError: When a column is missing or occurs twice.
        InputError: When the table has no rows.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file", where=str(path), remedy="check the path")
    if path.is_dir():
        raise InputError(
            "this is a folder, not a table", where=str(path), remedy="give a .parquet, .csv or .jsonl file"
        )
    table = _parse(path, skip)
    _refuse_repeated(table.column_names, path)
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise InputError(
            f"column {list_some(missing)} is missing (the table has {list_names(table.column_names)})",
            where=str(path),
            remedy="add the column or rename yours",
        )
    if table.num_rows == 0:
        raise InputError("the table has no rows", where=str(path), remedy="give a table with at least one row")
    return table


def column_names(path: Path | str, table: pa.Table) -> list[str]:
    """Return the names of all columns of a file, including those that `read` skipped.

    Args:
        path: The file.
        table: What `read` returned for it.
    """
    if Path(path).suffix.lower() not in PARQUET:
        return list(table.column_names)
    import pyarrow.parquet as pq

    return [clean_name(name) for name in pq.read_schema(path).names]


def _refuse_repeated(names: Sequence[str], path: Path) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InputError(
            f"column {list_some(repeated)} occurs more than once",
            where=str(path),
            remedy="rename or drop all but one of them",
        )


def _parse(path: Path, skip: Sequence[str]) -> pa.Table:
    """Parse a file by its ending; columns in ``skip`` are not loaded from Parquet."""
    ending = path.suffix.lower()
    if ending in PARQUET:
        return _read_parquet(path, skip)
    if ending == ".csv":
        return read_csv(path)
    if ending in (".jsonl", ".json", ".ndjson"):
        return read_json_lines(path)
    raise InputError(
        f"the ending {ending!r} is not known", where=str(path), remedy="give a .parquet, .csv or .jsonl file"
    )


def _read_parquet(path: Path, skip: Sequence[str]) -> pa.Table:
    """Read a Parquet file without the columns in ``skip``; the names of its columns are cleaned."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        cleaned = clean_names(names, path)
        _refuse_repeated(cleaned, path)  # before pyarrow fails on choosing columns, with a message of its own
        chosen = [name for name, bare in zip(names, cleaned, strict=True) if bare not in skip]
        table = pq.read_table(path, columns=chosen if skip else None)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as cause:
        raise InputError(
            f"cannot be read as {path.suffix.lower()[1:]}: {str(cause).splitlines()[0]}",
            where=str(path),
            remedy="the file is damaged, truncated or of another kind: write it again",
        ) from cause
    return table.rename_columns([clean_name(name) for name in table.column_names])


def write(path: Path | str, columns: Mapping[str, Any] | pa.Table) -> None:
    """Write a Parquet file; the same content gives the same bytes, and a reader never sees half a file.

    Args:
        path: Where the file goes.
        columns: The columns by name, as lists or arrays, or a table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(None), temporary, compression="zstd")
