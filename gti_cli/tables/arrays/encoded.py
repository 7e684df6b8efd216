"""A column of ids as numbers: each different id is a Python string once, not once for each row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.tables.columns import ids, strings
from gti_cli.tables.text_types import is_text, readable_column

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


@dataclass(frozen=True)
class EncodedColumn:
    """A column of texts as numbers.

    Attributes:
        codes: (N,) int32. The number of each row's text.
        texts: The different texts, in the order in which the column first has them; an Arrow array.
    """

    codes: npt.NDArray[np.int32]
    texts: pa.Array

    def text_of_row(self, row: int) -> str:
        """The text of a row, from 0."""
        text: str = self.texts[int(self.codes[row])].as_py()
        return text

    def first_row(self, code: int) -> int:
        """The first row with a text, from 1."""
        import numpy as np

        return int(np.argmax(self.codes == code)) + 1


def encode_ids(table: pa.Table, column: str, path: Path | str) -> EncodedColumn:
    """Read a column of ids, as `gti_cli.tables.ids` does.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.
        path: The file that the table was read from.

    Raises:
        InputError: Where `gti_cli.tables.ids` raises it, with the same words.
    """
    import pyarrow as pa

    quickly = _from_dictionaries(table.column(column))
    if quickly is not None:
        return quickly
    values = readable_column(table, column, path)
    kind = values.type
    codes, distinct = _encode(values) if is_text(kind) or pa.types.is_integer(kind) else (None, None)
    if codes is None or distinct is None or distinct.null_count or (is_text(kind) and _has_blank(distinct)):
        # Numbers with a point, and columns with a fault, whose row is to be named.
        return EncodedColumn(*_encode_list(ids(table, column, path)))
    return EncodedColumn(codes, distinct if is_text(kind) else distinct.cast(pa.string()))


def encode_strings(table: pa.Table, column: str, path: Path | str) -> EncodedColumn:
    """Read a column of text, as `gti_cli.tables.strings` does: a missing text is ``""``.

    Args:
        table: What `gti_cli.tables.read` returned.
        column: The name of the column.
        path: The file that the table was read from.

    Raises:
        InputError: When the column holds nested objects.
    """
    import numpy as np
    import pyarrow as pa

    values = readable_column(table, column, path)
    if not is_text(values.type):
        return EncodedColumn(*_encode_list(strings(table, column, path)))
    codes, distinct = _encode(values)
    # Texts that differ in the white space around them alone are one text.
    stripped, texts = _encode_list(strings(pa.table({column: distinct}), column, path))
    return EncodedColumn(np.asarray(stripped[codes], dtype=np.int32), texts)


def _from_dictionaries(values: pa.ChunkedArray) -> EncodedColumn | None:
    """The strings of a column that is stored as dictionaries; None where that, or a fault, takes a closer look."""
    import numpy as np
    import pyarrow as pa

    if not (pa.types.is_dictionary(values.type) and is_text(values.type.value_type)) or values.null_count:
        return None
    try:
        values.validate(full=True)  # that the texts are UTF-8
    except pa.ArrowInvalid:
        return None
    chunks = values.unify_dictionaries().chunks
    distinct = chunks[-1].dictionary if chunks else pa.array([], values.type.value_type)
    if distinct.null_count or _has_blank(distinct) or len(distinct.unique()) < len(distinct):
        return None
    codes = np.concatenate([np.asarray(chunk.indices, dtype=np.int32) for chunk in chunks] or [np.zeros(0, np.int32)])
    # A file may list its texts in any order, and some that no row has.
    first = np.full(len(distinct), len(codes), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    used = int((first < len(codes)).sum())
    order = np.argsort(first, kind="stable")[:used]
    number = np.empty(len(distinct), dtype=np.int32)
    number[order] = np.arange(used, dtype=np.int32)
    return EncodedColumn(number[codes], distinct.take(pa.array(order)))


def _has_blank(texts: pa.Array) -> bool:
    """Whether a text is empty, or white space alone."""
    import pyarrow.compute as pc

    blank = pc.or_(pc.equal(texts, ""), pc.utf8_is_space(texts))
    return bool(pc.any(blank).as_py())


def _encode(values: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], pa.Array]:
    """The number of each row's value, and the different values (missing ones among them) by first appearance."""
    import numpy as np

    encoded = values.dictionary_encode(null_encoding="encode")
    chunks = [np.asarray(chunk.indices, dtype=np.int32) for chunk in encoded.chunks]
    if not chunks:
        return np.zeros(0, dtype=np.int32), values.combine_chunks()
    return np.concatenate(chunks) if len(chunks) > 1 else chunks[0], encoded.chunks[-1].dictionary


def _encode_list(texts: list[str]) -> tuple[npt.NDArray[np.int32], pa.Array]:
    import pyarrow as pa

    return _encode(pa.chunked_array([pa.array(texts, pa.large_string())]))
