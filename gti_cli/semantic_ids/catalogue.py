"""Read the items table of `gti build-ids`: ids, the text that an encoder gets, and given embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console, tables
from gti_cli.errors import InputError, list_names, list_some
from gti_cli.tables import BlockTable, TableLocation
from gti_cli.tables.arrays.string_column import StringColumn, Strings, gather_strings
from gti_cli.tables.columns import name_unread
from gti_cli.tables.text_types import is_text, readable_column, text_column

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

TITLE, CATEGORIES = "title", "categories"
TEXT_COLUMNS = (TITLE, "description", "brand", CATEGORIES)
EMBEDDING = "embedding"
# Columns that the stage itself writes to `items.parquet`; an input column of the same name is dropped.
OWN_COLUMNS = ("item_id", "text", "same_as")
_BLOCK = 1 << 13  # rows of embeddings in memory at a time
_TEXTS_BLOCK = 1 << 14  # texts that are Python objects at a time
_vectors = tables.in_terms_of_the_file(tables.vectors)


@dataclass(frozen=True)
class Catalogue:
    """The items table, N items.

    Attributes:
        path: The table.
        item_ids: N strings, all different; in Arrow's memory.
        texts: N strings, the chosen columns joined by line breaks; ``""`` where all of them are empty. In Arrow's
            memory, or in a temporary file where they are large.
        text_columns: The columns of ``texts``, in order.
        table: The table without embeddings in Parquet and Arrow files; a large one stays on disk.
        has_embeddings: Whether there is an ``embedding`` column.
    """

    path: TableLocation
    item_ids: StringColumn
    texts: Strings
    text_columns: list[str]
    table: BlockTable
    has_embeddings: bool

    def __len__(self) -> int:
        return len(self.item_ids)

    def require_embeddings(self) -> None:
        """Raise `InputError` where there is no ``embedding`` column."""
        if not self.has_embeddings:
            raise InputError(
                f"there is no {EMBEDDING!r} column",
                where=self.path,
                remedy="add one (a list of numbers for each item), or use --encoder lsa or a model's name",
            )

    def embedding_width(self) -> int:
        """The width d of the ``embedding`` column, from its first block; raises as `embedding_blocks` does."""
        return int(next(self.embedding_blocks()).shape[1])

    def embedding_blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """Read the ``embedding`` column block by block.

        Yields:
            (n, d) float32. Of Parquet and Arrow files one block is in memory at a time; others come as one block.

        Raises:
            InputError: When the column is missing, ragged or not finite.
        """
        self.require_embeddings()
        if EMBEDDING in self.table.schema.names:
            yield _vectors(self.table.resident, EMBEDDING, self.path)
            return
        row, width = 1, None
        for part in tables.column_blocks(self.path, EMBEDDING, _BLOCK):
            block = _vectors(part, EMBEDDING, self.path, first_row=row, width=width)
            row, width = row + len(block), block.shape[1]
            yield block

    def require_texts(self) -> None:
        """Make sure that each item has a text to encode.

        Raises:
            InputError: When there is no text column, or an item has an empty text.
        """
        if not self.text_columns:
            raise InputError(
                f"the table has none of the text columns {', '.join(TEXT_COLUMNS)}",
                where=self.path,
                remedy=f"name its text columns with --text-columns (columns: {list_names(self.table.schema.names)})",
            )
        empty = [row for row, text in enumerate(self.texts) if not text]
        if empty:
            some = list_some([self.item_ids[row] for row in empty])
            raise InputError(
                f"{len(empty):,} of {len(self):,} items have no text (item_id {some})",
                where=f"{self.path}, columns {', '.join(self.text_columns)}, row {empty[0] + 1:,}",
                remedy="fill in a text, drop these rows, or add columns with --text-columns",
            )


@tables.in_terms_of_the_file
def read_catalogue(
    path: Path | str, text_columns: Sequence[str] | None = None, folder: Path | None = None
) -> Catalogue:
    """Read the items table.

    Args:
        path: A table, see `gti_cli.tables.locate`, with ``item_id`` and text columns, optionally ``embedding``.
        text_columns: Columns that make the text; None: those of `TEXT_COLUMNS` that the table has.
        folder: Where large texts are put into a temporary file; None: where the system keeps such.

    Raises:
        InputError: When the file is broken, a column is missing, or an id is missing or occurs twice.
    """
    named = list(dict.fromkeys(text_columns or ()))
    table = tables.read_in_blocks(path, ["item_id", *named], skip=[EMBEDDING], resident=["item_id"])
    item_ids = _item_ids(table.resident, path)
    chosen = named or [name for name in TEXT_COLUMNS if name in table.schema.names]
    texts = gather_strings(_text_blocks(table, chosen, path), folder)
    has_embeddings = EMBEDDING in tables.column_names(path, table.resident)
    if TITLE not in table.schema.names:
        console.note(
            f"{path}: no column 'title', which names items in lists and pages (--columns title=NAME says which)"
        )
    if not named and not has_embeddings:  # else the columns were chosen, or no text is encoded
        shown = table.schema.empty_table()
        name_unread(shown, (*chosen, *OWN_COLUMNS), path, "not in the items' texts (see --text-columns)")
    return Catalogue(tables.locate(path), item_ids, texts, chosen, table, has_embeddings)


def _item_ids(table: pa.Table, path: Path | str) -> StringColumn:
    """The column ``item_id``, all different; only where a check fails, or ids are numbers, do they pass Python."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = readable_column(table, "item_id", path)
    if is_text(values.type) and not values.null_count:
        is_blank = pc.or_(pc.equal(values, ""), pc.utf8_is_space(values))
        found = StringColumn(pa.chunked_array([values.cast(pa.string()).combine_chunks()]))
        if not pc.any(is_blank).as_py() and not _may_repeat(found):
            return found
    return StringColumn(pa.chunked_array([pa.array(tables.ids(table, "item_id", path, unique=True), pa.string())]))


def _may_repeat(texts: Strings) -> bool:
    """Whether two texts have the same hash, as equal ones do; memory holds 8 bytes for each text."""
    import numpy as np

    hashes = np.sort(np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts)))
    return bool((hashes[1:] == hashes[:-1]).any())


def _text_blocks(table: BlockTable, columns: Sequence[str], path: Path | str) -> Iterator[list[str]]:
    """The texts of all items, block by block."""
    first_row = 1
    for block in table.blocks(columns or ["item_id"], _TEXTS_BLOCK):
        parts = [tables.strings(block, name, path, first_row=first_row) for name in columns]
        yield ["\n".join(filter(None, row)) for row in zip(*parts, strict=True)] if parts else [""] * len(block)
        first_row += len(block)


def string_columns(table: BlockTable) -> list[str]:
    """Name the columns of texts and lists of texts of an items table, without `OWN_COLUMNS` and embeddings in text.

    Args:
        table: The items table.
    """
    return [
        field.name for field in table.schema if field.name not in (*OWN_COLUMNS, EMBEDDING) and _holds(table, field)
    ]


def _holds(table: BlockTable, field: pa.Field) -> bool:
    """Whether a column holds texts; one of bytes does where all of them are texts."""
    without_rows = text_column(table.schema.empty_table(), field.name)
    if without_rows is None or without_rows.type == field.type:
        return without_rows is not None
    return all(text_column(block, field.name) is not None for block in table.blocks([field.name], _TEXTS_BLOCK))
