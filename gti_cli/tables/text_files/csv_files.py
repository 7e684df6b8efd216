"""Read CSV files, and explain what is wrong with those that cannot be read.

pyarrow reports errors by block and in its own terms, so a file that it refuses is read once more, line by line. A file
in which an unclosed quote swallows rows is refused too, although pyarrow accepts it.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.errors import InputError
from gti_cli.tables.headers import clean_name, clean_names
from gti_cli.tables.text_files.streams import Opener, encoding_fault, opener, text_stream

if TYPE_CHECKING:
    import pyarrow as pa

NUMERIC = ("timestamp", "relevance")  # columns whose types are guessed from their values; all others are text
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Numbers as Python prints them, on several lines: array([0.1, 0.2,\n 0.3]). No row of a table looks like that.
_PRINTED_NUMBERS = re.compile(r"[\w.]*\(?\s*\[[\s\d.,eE+\-\[\]]*\](?:,\s*\w+=[\w.':]+)*\)?")


def read_csv(
    path: Path | str,
    *,
    delimiter: str = ",",
    open_file: Opener | None = None,
    numeric: Collection[str] = NUMERIC,
) -> pa.Table:
    """Read a CSV file; the names of its columns are cleaned (see `headers`).

    Args:
        path: The file, compressed or not; error lines name it.
        delimiter: What stands between two fields: one character.
        open_file: Opens the file anew each time it is called; None: from ``path``.
        numeric: Columns whose types are guessed. All others are text, since ids and brands such as ``007`` are.

    Raises:
        InputError: When the file cannot be read, or an unclosed quote swallows rows.
    """
    import pyarrow as pa

    open_file = open_file or opener(path)
    try:
        table = _read(path, delimiter, open_file, numeric)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, EOFError, UnicodeDecodeError, csv.Error) as cause:
        raise _explain(path, delimiter, open_file, str(cause).splitlines()[0]) from cause
    _check_header(table.column_names, path, delimiter)
    _refuse_unclosed_quotes(table, path, delimiter, open_file)
    return table.rename_columns(clean_names(table.column_names, path))


def _read(path: Path | str, delimiter: str, open_file: Opener, numeric: Collection[str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as pa_csv

    def parse(names: Sequence[str]) -> pa.Table:
        """Read the file with the columns of these names as text, those of ``numeric`` excepted."""
        text = {name: pa.string() for name in names if clean_name(name) not in numeric}
        with open_file() as stream:
            return pa_csv.read_csv(
                stream,
                convert_options=pa_csv.ConvertOptions(column_types=text, strings_can_be_null=True, null_values=[""]),
                parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            )

    with text_stream(open_file) as file:
        table = parse(next(csv.reader(file, delimiter=delimiter), []))
    # A quote in the middle of a name is read by pyarrow in another way than by Python; then its types were guessed.
    guessed = any(
        clean_name(field.name) not in numeric and not pa.types.is_string(field.type) for field in table.schema
    )
    return parse(table.column_names) if guessed else table


def _check_header(names: Sequence[str], path: Path | str, delimiter: str) -> None:
    """Refuse a file whose columns are separated by something else than ``delimiter``."""
    if len(names) != 1:
        return
    separator = next((mark for mark in _SEPARATORS if mark != delimiter and mark in names[0]), None)
    if separator is not None:
        raise InputError(
            f"the columns are separated by {_SEPARATORS[separator]}",
            where=str(path),
            remedy=f"save it with {_SEPARATORS.get(delimiter, repr(delimiter))}",
        )


def _refuse_unclosed_quotes(table: pa.Table, path: Path | str, delimiter: str, open_file: Opener) -> None:
    """Refuse a CSV in which an unclosed quote has made the following rows part of one cell's text.

    Such a cell has line breaks, and one of its later lines has as many delimiters as a row. A description of several
    lines may look the same; it is accepted if spaces follow its commas and all quotes of the file match.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if table.num_rows == 0:  # pyarrow 16's indices_nonzero ends the process on no rows
        return
    width = table.num_columns
    mismatched: bool | None = None  # whether the file's quotes do not match; found out when first needed
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_string(column.type):
            continue
        multiline = pc.indices_nonzero(pc.fill_null(pc.match_substring(column, "\n"), False))
        for row, value in zip(multiline.to_pylist(), column.take(multiline).to_pylist(), strict=True):
            lines = value.splitlines()[1:]
            has_row = any(line.count(delimiter) >= width - 1 for line in lines)
            if not has_row or _PRINTED_NUMBERS.fullmatch(value.strip()):
                continue
            is_row = width > 1 and any(
                line.count(delimiter) - line.count(delimiter + " ") >= width - 1 for line in lines
            )
            if not is_row and mismatched is None:
                mismatched = _has_mismatched_quotes(delimiter, open_file)
            if is_row or mismatched:
                raise InputError(
                    "a quote is never closed, so the rows after it became part of this cell",
                    where=f"{path}, column {name!r}, row {row + 1:,}",
                    remedy='close the quote, or write a quote inside a text twice (""); if the text really holds such '
                    "lines, save the table as .parquet or .jsonl",
                )


def _has_mismatched_quotes(delimiter: str, open_file: Opener) -> bool:
    """Tell whether Python's strict CSV reader, which is slower than pyarrow's, refuses the file."""
    limit = csv.field_size_limit(1 << 30)
    try:
        with text_stream(open_file) as file:
            for _ in csv.reader(file, delimiter=delimiter, strict=True):
                pass
    except csv.Error:
        return True
    finally:
        csv.field_size_limit(limit)
    return False


def _explain(path: Path | str, delimiter: str, open_file: Opener, message: str) -> InputError:
    """Make the error for a file that pyarrow has refused.

    Args:
        path: The file, for the error line.
        delimiter: What stands between two fields.
        open_file: Opens the file.
        message: The message of pyarrow, which is used if the second reading finds nothing wrong.
    """
    try:
        fault = encoding_fault(path, open_file) or _fault(path, delimiter, open_file)
    except (OSError, EOFError, zlib.error, csv.Error):
        fault = None
    return fault or InputError(
        # Remove the row number from pyarrow's message: it is counted from the start of a block.
        f"cannot be read as csv: {re.sub(r' in row [0-9]+', '', message)}",
        where=str(path),
        remedy="the file is damaged, truncated or of another kind: write it again",
    )


def _fault(path: Path | str, delimiter: str, open_file: Opener) -> InputError | None:
    """Return the first fault of a CSV file: its separator, or a row with another number of fields."""
    with text_stream(open_file) as file:
        rows = csv.reader(file, delimiter=delimiter)
        header = next(rows, [])
        lines_read = rows.line_num  # a row may span several lines
        try:
            _check_header(header, path, delimiter)
        except InputError as error:
            return error
        for row in rows:
            if row and len(row) != len(header):
                marks = _SEPARATORS.get(delimiter, repr(delimiter))
                return InputError(
                    f"cannot be read as csv: {len(row)} fields where the header has {len(header)}",
                    where=f"{path}, line {lines_read + 1:,}",
                    remedy=f"put texts that hold {marks} in double quotes, close every quote, and fill every column",
                )
            lines_read = rows.line_num
    return None
