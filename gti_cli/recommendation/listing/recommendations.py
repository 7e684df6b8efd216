"""What `gti recommend` returns: the items of each list."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from gti_cli.decoding.ranked_items import ItemLists
from gti_cli.tables.arrays.names import Names

_AT_ONCE = 1 << 14  # lines that are made into objects at a time


@dataclass(frozen=True)
class Recommendation:
    """One item of a recommendation list.

    Attributes:
        user_id: Id of the user, or of the query.
        rank: Place in the list, from 1.
        item_id: Id of the item.
        title: Title of the item.
        score: Log-probability of the item's semantic ID; of a blend, a number whose order alone has a meaning.
        proven: Whether the search proves that no more probable item is missing in the list. A blend does not search.
        retriever_score: The score that a table of candidates gave the item; None without one.
    """

    user_id: str
    rank: int
    item_id: str
    title: str
    score: float
    proven: bool = True
    retriever_score: float | None = None


class Recommendations(list[Recommendation]):
    """The items of all lists, by user or query, then by rank.

    Attributes:
        never_trained_on: ``queries`` or ``histories`` where they were asked of a checkpoint that never saw any.
    """

    never_trained_on: str | None = None


@dataclass(eq=False)
class ListedItems(Sequence[Recommendation]):
    """The items of many lists as arrays; a `Recommendation` is made for whoever looks at one.

    Attributes:
        users: Ids of P users or queries; `Names` where there are many.
        lists: The items of each, best first.
        proven: (P,) bool. Whether each list is proven to be the best.
        item_ids: Item id of each catalogue row.
        titles: Title of each catalogue row; "" where there is none.
        retriever_scores: (M,) float64. The score that a table of candidates gave each item of the lists, NaN where it
            gave none. None: it gives no scores.
        never_trained_on: As in `Recommendations`.
    """

    users: Sequence[str]
    lists: ItemLists
    proven: npt.NDArray[np.bool_]
    item_ids: Names
    titles: Names
    retriever_scores: npt.NDArray[np.float64] | None = None
    never_trained_on: str | None = None

    def __len__(self) -> int:
        return len(self.lists.rows)

    @overload
    def __getitem__(self, index: int) -> Recommendation: ...

    @overload
    def __getitem__(self, index: slice) -> list[Recommendation]: ...

    def __getitem__(self, index: int | slice) -> Recommendation | list[Recommendation]:
        if isinstance(index, slice):
            return self._lines(np.arange(len(self))[index])
        return self._lines(np.arange(len(self))[[index]])[0]

    def __iter__(self) -> Iterator[Recommendation]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def _lines(self, places: npt.NDArray[np.int64]) -> list[Recommendation]:
        """The lines at some places."""
        values = [
            column.tolist() if isinstance(column, np.ndarray) else list(column) for column in self._columns(places)
        ]
        if self.retriever_scores is not None:
            values[-1] = [None if math.isnan(score) else score for score in values[-1]]
        return [Recommendation(*line) for line in zip(*values, strict=True)]

    def _columns(self, places: npt.NDArray[np.int64]) -> list[Any]:
        """The fields of `Recommendation` for the lines at some places, in its order."""
        owners, rows = self.lists.owners()[places], self.lists.rows[places]
        columns: list[Any] = [
            self.users.take(owners) if isinstance(self.users, Names) else [self.users[n] for n in owners.tolist()],
            self.lists.places()[places] + 1,
            self.item_ids.take(rows),
            self.titles.take(rows),
            self.lists.scores[places].astype(np.float64),
            self.proven[owners],
        ]
        return columns if self.retriever_scores is None else [*columns, self.retriever_scores[places]]

    def columns(self) -> dict[str, Any]:
        """The fields of all lines, by name, as arrays for a file."""
        import pyarrow as pa

        columns = {}
        for name, column in zip(_FIELDS, self._columns(np.arange(len(self))), strict=False):
            if isinstance(column, Names):
                columns[name] = column.array.cast(pa.string())
            else:
                columns[name] = pa.array(column, from_pandas=True)  # NaN: there is none
        return columns


_FIELDS = ("user_id", "rank", "item_id", "title", "score", "proven", "retriever_score")
