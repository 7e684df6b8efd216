"""Columns that cannot be used: stand-ins take their place, and the error comes when a stage reads one, not before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_FAULT = b"gti fault"  # key in a field's metadata: file, line and problem


def faulty_column(name: str, rows: int, path: Path | str, line: int, problem: str) -> tuple[pa.Field, pa.Array]:
    """Make the stand-in for a column that cannot be used.

    Args:
        name: The name of the column.
        rows: The number of rows of the table.
        path: The file, for the error line.
        line: The line of the file where the fault stands, from 1.
        problem: What is wrong, for the error line.

    Returns:
        The column's field, which carries the fault, and its values: all missing, of a type that no reader takes.
    """
    import pyarrow as pa

    kind = pa.struct([("values of different kinds", pa.null())])
    return pa.field(name, kind, metadata={_FAULT: json.dumps([str(path), line, problem])}), pa.nulls(rows, kind)


def refuse_faulty(field: pa.Field) -> None:
    """Refuse a column that is a stand-in.

    Args:
        field: The column's field.

    Raises:
        InputError: When it is one; the error is that of the fault.
    """
    fault = (field.metadata or {}).get(_FAULT)
    if fault is not None:
        path, line, problem = json.loads(fault)
        raise InputError(
            problem,
            where=f"{path}, column {field.name!r}, line {line:,}",
            remedy="write the same kind of value in every line",
        )


def share_faults(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Put the stand-in for a column into all parts of one table, so that the parts can be joined.

    Args:
        tables: The parts.
    """
    faulty = {field.name: field for table in tables for field in table.schema if _FAULT in (field.metadata or {})}
    return [_with_stand_ins(table, faulty) for table in tables]


def _with_stand_ins(table: pa.Table, faulty: Mapping[str, pa.Field]) -> pa.Table:
    import pyarrow as pa

    for number, name in enumerate(table.column_names):
        if name in faulty:
            table = table.set_column(number, faulty[name], pa.nulls(len(table), faulty[name].type))
    return table
