"""Queries with graded items as arrays: a `Query` is made for whoever looks at one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.ragged import offsets_of, places_from
from gti_cli.tables.arrays.user_lists import Texts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NO, MAYBE, GOOD = 0, 1, 2  # the grades of relevance


@dataclass(frozen=True)
class Query:
    """A query and the grades of its items.

    Attributes:
        query_id: The id of the query; its text in a table without the column ``query_id``.
        text: The text of the query.
        relevance: Item id -> grade 0 (no), 1 (maybe) or 2 (good), in the order of the table. All other items are
            ungraded.
    """

    query_id: str
    text: str
    relevance: dict[str, int]

    def items(self, least: int = GOOD) -> list[str]:
        """Return the ids of the items with grade ``least`` or better, in the order of the table."""
        return [item for item, grade in self.relevance.items() if grade >= least]


@dataclass(frozen=True)
class GradedItems:
    """The Q queries of a table.

    Attributes:
        names: Q ids.
        texts: The text of each query.
        offsets: (Q + 1,) int64. The graded items of query q have the places ``offsets[q]`` to ``offsets[q + 1]`` - 1.
        codes: (M,) int32. The number of each graded item among ``items``.
        grades: (M,) int8. Its grade.
        items: The ids that the codes stand for.
    """

    names: Names
    texts: Names
    offsets: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    grades: npt.NDArray[np.int8]
    items: Texts


class QueryLists(Sequence[Query]):
    """Some of the queries of a table.

    Attributes:
        table: All queries.
        numbers: (n,) int64. Which of them these are.
    """

    def __init__(self, table: GradedItems, numbers: npt.NDArray[np.int64]) -> None:
        """Take the queries with these numbers."""
        self.table, self.numbers = table, numbers

    @classmethod
    def of(cls, queries: Sequence[Query]) -> QueryLists:
        """The queries themselves if they are arrays already, else copied into arrays."""
        import numpy as np

        if isinstance(queries, QueryLists):
            return queries
        code_of: dict[str, int] = {}
        codes = [code_of.setdefault(item, len(code_of)) for query in queries for item in query.relevance]
        table = GradedItems(
            Names.of([query.query_id for query in queries]),
            Names.of([query.text for query in queries]),
            np.cumsum([0, *(len(query.relevance) for query in queries)], dtype=np.int64),
            np.asarray(codes, dtype=np.int32),
            np.asarray([grade for query in queries for grade in query.relevance.values()], dtype=np.int8),
            Texts(list(code_of)),
        )
        return cls(table, np.arange(len(queries), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Query: ...

    @overload
    def __getitem__(self, index: slice) -> QueryLists: ...

    def __getitem__(self, index: int | slice) -> Query | QueryLists:
        if isinstance(index, slice):
            return QueryLists(self.table, self.numbers[index])
        table, number = self.table, int(self.numbers[index])
        places = slice(*table.offsets[number : number + 2])
        items = [table.items[code] for code in table.codes[places].tolist()]
        relevance = dict(zip(items, table.grades[places].tolist(), strict=True))
        return Query(table.names[number], table.texts[number], relevance)

    def __iter__(self) -> Iterator[Query]:
        return (self[number] for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def places(self) -> npt.NDArray[np.int64]:
        """The places of the graded items of these queries in the arrays of ``table``, one query behind the other."""
        starts = self.table.offsets[self.numbers]
        return places_from(starts, self.table.offsets[self.numbers + 1] - starts)

    def owners(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The number in ``table`` of the query of each graded item, given by its place."""
        import numpy as np

        owners: npt.NDArray[np.int64] = np.searchsorted(self.table.offsets, places, side="right") - 1
        return owners

    def take(self, places: npt.NDArray[np.integer[Any]]) -> QueryLists:
        """Some of these queries, by their places among them."""
        return QueryLists(self.table, self.numbers[places])

    def counts(self, grade: int) -> npt.NDArray[np.int64]:
        """(n,) how many items of each query have this grade."""
        before = offsets_of(self.table.grades == grade)[self.table.offsets]
        return before[self.numbers + 1] - before[self.numbers]

    def without(self, items: Collection[str]) -> QueryLists:
        """These queries without the grades of some items, given by their ids."""
        import numpy as np

        table = self.table
        is_taken = np.fromiter((item in items for item in table.items), dtype=bool, count=len(table.items))
        kept = ~is_taken[table.codes]
        offsets = offsets_of(kept)[table.offsets]
        rest = GradedItems(table.names, table.texts, offsets, table.codes[kept], table.grades[kept], table.items)
        return QueryLists(rest, self.numbers)
