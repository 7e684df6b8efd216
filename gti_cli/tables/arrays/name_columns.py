"""Columns of ids and of texts that stay arrays, with the checks of `gti_cli.tables.columns`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.tables.arrays.encoded import encode_ids
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.columns import ids, strings
from gti_cli.tables.text_types import is_text, readable_column

if TYPE_CHECKING:
    import pyarrow as pa


def unique_names(table: pa.Table, column: str, path: Path | str) -> Names:
    """Read a column of ids, each of which stands in it once, as `gti_cli.tables.ids` does with ``unique``.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.
        path: The file that the table was read from.

    Raises:
        InputError: Where `gti_cli.tables.ids` raises it, with the same words.
    """
    encoded = encode_ids(table, column, path)
    if len(encoded.texts) < len(encoded.codes):
        return Names.of(ids(table, column, path, unique=True))  # names the row that repeats an id
    return Names(encoded.texts)  # each stands at its first row


def text_names(table: pa.Table, column: str, path: Path | str) -> Names:
    """Read a column of text, as `gti_cli.tables.strings` does: a missing text is ``""``.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.
        path: The file that the table was read from.

    Raises:
        InputError: When the column holds nested objects.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = readable_column(table, column, path)
    if not is_text(values.type):
        return Names.of(strings(table, column, path))
    return Names(pc.utf8_trim_whitespace(values.cast(pa.large_string()).combine_chunks().fill_null("")))
