"""The row of each item id of a catalogue, without a Python object for each item.

A dictionary of a million ids takes 200 MB. In a large catalogue single ids are found by a binary search among sorted
hashes, 12 bytes an item, and many at once by Arrow. A small catalogue has a dictionary, which is ten times as fast.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gti_cli.tables.arrays.names import Names

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FEW = 1 << 17  # most items of a catalogue that gets a dictionary


class ItemRows(Mapping[str, int]):
    """A mapping from the N ids of a catalogue, each of which stands in it once, to their rows.

    Attributes:
        names: The ids, in the order of the rows.
    """

    def __init__(self, names: Names) -> None:
        """Take the ids of a catalogue."""
        self.names = names

    def __reduce__(self) -> tuple[type[ItemRows], tuple[Names]]:
        return ItemRows, (self.names,)  # the hashes of strings differ from process to process

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, item: object) -> bool:
        return self._find(item) >= 0

    def __getitem__(self, item: str) -> int:
        row = self._find(item)
        if row < 0:
            raise KeyError(item)
        return row

    def rows_of(self, items: Sequence[str]) -> npt.NDArray[np.int64]:
        """The rows of many ids at once; -1 for an id that the catalogue does not have."""
        return self.names.numbers_of(items)

    def _find(self, item: Any) -> int:
        """The row of an id; -1 where there is none."""
        if self._small is not None:
            return self._small.get(item, -1)
        hashes, rows = self._by_hash
        wanted = hash(item)
        place = bisect_left(hashes, wanted)
        while place < len(hashes) and hashes[place] == wanted:
            row: int = rows[place]
            if self.names[row] == item:
                return row
            place += 1
        return -1

    @cached_property
    def _small(self) -> dict[str, int] | None:
        return {item: row for row, item in enumerate(self.names)} if len(self.names) <= _FEW else None

    @cached_property
    def _by_hash(self) -> tuple[memoryview, memoryview]:
        """(N,) the hashes of the ids, rising, and the row of each: made when a single id is first asked for."""
        import numpy as np

        hashes = np.fromiter(map(hash, self.names), dtype=np.int64, count=len(self.names))
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        return memoryview(hashes[order]), memoryview(order)  # type: ignore[arg-type]


def names_in_order(row_of: Mapping[str, int]) -> list[str]:
    """The ids of a catalogue in the order of their rows."""
    return list(row_of) if isinstance(row_of, ItemRows) else sorted(row_of, key=row_of.__getitem__)


def rows_of(row_of: Mapping[str, int], items: Sequence[str]) -> npt.NDArray[np.int64]:
    """The row of each of some items; -1 for one that the catalogue does not have.

    Args:
        row_of: Row of the catalogue of each item.
        items: Ids of items.
    """
    import numpy as np

    if isinstance(row_of, ItemRows):
        return row_of.rows_of(items)
    return np.fromiter((row_of.get(item, -1) for item in items), dtype=np.int64, count=len(items))
