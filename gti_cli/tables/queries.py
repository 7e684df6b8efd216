"""Read search queries with graded items, and divide the queries into training, validation and test.

A column ``split`` assigns each query. Without it, a hash of the query's text decides: about 80 % are for training, 10 %
for validation and 10 % for test. The hash needs no seed, so every command divides a table in the same way, and a query
that is added later does not move any other. Texts that differ only in case or spaces have the same hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console, tables
from gti_cli.errors import InputError
from gti_cli.tables.arrays.encoded import EncodedColumn, encode_ids, encode_strings
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.query_lists import GOOD, MAYBE, NO, GradedItems, Query, QueryLists
from gti_cli.tables.arrays.ragged import offsets_of
from gti_cli.tables.arrays.user_lists import Texts
from gti_cli.tables.columns import name_unread, refuse_unknown_items
from gti_cli.tables.histories import SPLITS
from gti_cli.tables.sources.location import in_terms_of_the_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["GOOD", "MAYBE", "NO", "Queries", "Query", "read_queries"]

COLUMNS = ("query", "item_id", "relevance", "query_id", "split")
_SPLIT_OF_TENTH = ("train",) * 8 + ("valid", "test")


@dataclass(frozen=True)
class Queries:
    """All queries of a table, divided. Each list is in the order in which the table first names the queries.

    Attributes:
        train: The queries for training.
        valid: The queries for validation.
        test: The queries for test.
        counts: The numbers of queries, query_items (distinct pairs of query and item), queries_train, queries_valid,
            queries_test and queries_without_good (without an item of grade 2).
        path: The file, for error lines.
    """

    train: Sequence[Query]
    valid: Sequence[Query]
    test: Sequence[Query]
    counts: dict[str, int]
    path: str

    def part(self, name: str) -> Sequence[Query]:
        """Return the queries of ``train``, ``valid`` or ``test``.

        Raises:
            InputError: When there are none.
        """
        queries: Sequence[Query] = getattr(self, name)
        if not queries:
            raise InputError(
                f"none of the {self.counts['queries']:,} queries is for {name}",
                where=self.path,
                remedy=f"mark some {name} in a column 'split', or give more queries",
            )
        return queries


@in_terms_of_the_file
def read_queries(path: Path | str, catalogue: Collection[str]) -> Queries:
    """Read a table with one row for each graded pair of query and item.

    Its columns are ``query``, ``item_id``, ``relevance`` and optionally ``query_id`` and ``split``.

    Args:
        path: A table, see `gti_cli.tables.locate`.
        catalogue: The ids of all items that have a semantic ID.

    Raises:
        InputError: When a column or a value is missing.
        InputError: When an item is not in the catalogue, or a grade is none of 0, 1 and 2.
        InputError: When a query has two texts, two splits, or two grades for one item.
    """
    import numpy as np

    table = tables.read(path, ["query", "item_id", "relevance"])
    name_unread(table, COLUMNS, path)
    texts = encode_strings(table, "query", path)
    _refuse_empty(texts, path)
    names = encode_ids(table, "query_id", path) if "query_id" in table.column_names else texts
    items = encode_ids(table, "item_id", path)
    refuse_unknown_items(Texts(Names(items.texts)), catalogue, path, "rows", items.codes)
    labels = encode_strings(table, "split", path) if "split" in table.column_names else None
    rows = _Rows(names, texts, items, _grades(table, path), labels, _first_rows(names.codes, len(names.texts)), path)
    rows.check()
    queries = rows.grouped()
    part_of_query = rows.parts()
    parts = {name: QueryLists(queries, np.flatnonzero(part_of_query == part)) for part, name in enumerate(SPLITS)}
    with_good = np.unique(
        QueryLists(queries, np.arange(len(names.texts))).owners(np.flatnonzero(queries.grades >= GOOD))
    )
    counts = {
        "queries": len(names.texts),
        "query_items": len(queries.codes),
        **{f"queries_{part}": len(members) for part, members in parts.items()},
        "queries_without_good": len(names.texts) - len(with_good),
    }
    if counts["queries_without_good"]:
        console.note(f"{counts['queries_without_good']:,} of {counts['queries']:,} queries have no item of relevance 2")
    return Queries(parts["train"], parts["valid"], parts["test"], counts, str(path))


def _refuse_empty(texts: EncodedColumn, path: Path | str) -> None:
    code = int(Names(texts.texts).numbers_of([""])[0])
    if code >= 0:
        where = f"{path}, column 'query', row {texts.first_row(code):,}"
        raise InputError("the query is empty", where=where, remedy="fill it in or drop the row")


def _grades(table: pa.Table, path: Path | str) -> npt.NDArray[np.int8]:
    import numpy as np

    grades = tables.integers(table, "relevance", path)
    wrong = np.flatnonzero((grades < NO) | (grades > GOOD))
    if len(wrong):
        raise InputError(
            f"{grades[wrong[0]]} is no grade of relevance",
            where=f"{path}, column 'relevance', row {wrong[0] + 1:,}",
            remedy="write 0 (no), 1 (maybe) or 2 (good)",
        )
    return grades.astype(np.int8)


def _first_rows(codes: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """(count,) the first row with each code."""
    import numpy as np

    first = np.empty(count, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first


@dataclass(frozen=True)
class _Rows:
    """The R rows of a table.

    Attributes:
        names: The id of the query of each row.
        texts: Its text.
        items: The item.
        grades: (R,) its grade.
        labels: The part of the data. None: the text decides.
        first: The first row of each query.
        path: The file, for error lines.
    """

    names: EncodedColumn
    texts: EncodedColumn
    items: EncodedColumn
    grades: npt.NDArray[np.int8]
    labels: EncodedColumn | None
    first: npt.NDArray[np.int64]
    path: Path | str

    @cached_property
    def first_of_pair(self) -> npt.NDArray[np.int64]:
        """(R,) the first row with the query and the item of each row."""
        import numpy as np

        pairs = self.names.codes.astype(np.int64) * len(self.items.texts) + self.items.codes
        _, first, pair_of_row = np.unique(pairs, return_index=True, return_inverse=True)
        return np.asarray(first[pair_of_row.reshape(-1)], dtype=np.int64)

    def check(self) -> None:
        """Refuse rows that contradict an earlier row of the same query, and labels that are none.

        Raises:
            InputError: At the first such row.
        """
        import numpy as np

        first = self.first[self.names.codes]
        is_wrong = self.texts.codes != self.texts.codes[first]
        is_wrong |= self.grades != self.grades[self.first_of_pair]
        if self.labels is not None:
            no_label = np.asarray([label not in SPLITS for label in self.labels.texts.to_pylist()], dtype=bool)
            is_wrong |= no_label[self.labels.codes] | (self.labels.codes != self.labels.codes[first])
        if is_wrong.any():
            self._refuse(int(is_wrong.argmax()))

    def _refuse(self, row: int) -> None:
        """Say what is wrong in a row."""
        query = int(self.names.codes[row])
        where, first = f"{self.path}, row {row + 1:,}", int(self.first[query])
        name = self.names.texts[query].as_py()
        remedy = f"give all rows of a query one text and one split, and one grade to each item (query {name!r})"
        if self.labels is not None:
            label, first_label = (self.labels.text_of_row(one) for one in (row, first))
            if label not in SPLITS:
                raise InputError(
                    f"{label!r} is no split",
                    where=where.replace(", row", ", column 'split', row"),
                    remedy="write train, valid or test in every row, or drop the column",
                )
        text, first_text = (self.texts.text_of_row(one) for one in (row, first))
        if text != first_text:
            raise InputError(f"the query reads {text!r} here and {first_text!r} before", where=where, remedy=remedy)
        if self.labels is not None and label != first_label:
            raise InputError(f"the query is marked {label} here and {first_label} before", where=where, remedy=remedy)
        grade, before = self.grades[row], self.grades[self.first_of_pair[row]]
        item = self.items.text_of_row(row)
        raise InputError(f"item {item!r} has relevance {grade} here and {before} before", where=where, remedy=remedy)

    def grouped(self) -> GradedItems:
        """The queries, each with its items in the order of the rows."""
        import numpy as np

        rows = np.flatnonzero(self.first_of_pair == np.arange(len(self.grades)))
        rows = rows[np.argsort(self.names.codes[rows], kind="stable")]
        counts = np.bincount(self.names.codes[rows], minlength=len(self.first))
        return GradedItems(
            Names(self.names.texts),
            Names(self.texts.texts).take(self.texts.codes[self.first]),
            offsets_of(counts),
            self.items.codes[rows],
            self.grades[rows],
            Texts(Names(self.items.texts)),
        )

    def parts(self) -> npt.NDArray[np.int64]:
        """(Q,) the part of the data of each query, as a place in `SPLITS`."""
        import numpy as np

        if self.labels is not None:
            of_label = np.asarray([SPLITS.index(label) for label in self.labels.texts.to_pylist()], dtype=np.int64)
            return of_label[self.labels.codes[self.first]]
        texts = Names(self.texts.texts).take(self.texts.codes[self.first])
        return np.asarray([SPLITS.index(_split_by_hash(text)) for text in texts], dtype=np.int64)


def _split_by_hash(text: str) -> str:
    """Return the split of a query by the hash of its text, without regard to case and spaces."""
    normalized = " ".join(text.casefold().split())
    number = int.from_bytes(hashlib.sha256(normalized.encode()).digest()[:8], "big")
    return _SPLIT_OF_TENTH[number % len(_SPLIT_OF_TENTH)]
