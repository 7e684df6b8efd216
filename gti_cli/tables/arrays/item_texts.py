"""A text for each item or query of a table, such as its title, without a Python object for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gti_cli.tables.arrays.item_rows import ItemRows
from gti_cli.tables.arrays.names import Names


class ItemTexts(Mapping[str, str]):
    """A mapping from ids to texts.

    Attributes:
        row_of: Row of each item in the table.
        texts: Text of each row.
    """

    def __init__(self, items: Names, texts: Names) -> None:
        """Take a table.

        Args:
            items: N ids, each once.
            texts: Text of each.
        """
        self.row_of, self.texts = ItemRows(items), texts

    def part(self, start: int, stop: int) -> ItemTexts:
        """The rows ``start`` to ``stop`` - 1."""
        return ItemTexts(self.row_of.names[start:stop], self.texts[start:stop])

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.row_of)

    def __contains__(self, item: object) -> bool:
        return item in self.row_of

    def __getitem__(self, item: str) -> str:
        return self.texts[self.row_of[item]]


def texts_in_order(texts: Mapping[str, str], items: Names) -> Names:
    """The text of each of some items, in their order; "" for an item without one.

    Args:
        texts: Text of each item by its id.
        items: Ids of the items.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(texts, ItemTexts):
        return Names.of([texts.get(item, "") for item in items])
    if texts.row_of.names.array.equals(items.array):
        return texts.texts
    rows = texts.row_of.rows_of(items)
    taken = texts.texts.array.take(pa.array(np.where(rows < 0, 0, rows), mask=rows < 0))
    return Names(pc.fill_null(taken, ""))
