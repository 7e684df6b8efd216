"""Read search queries with graded items, and divide the queries into training, validation and test.

A column ``split`` assigns each query. Without it, a hash of the query's text decides: about 80 % are for training, 10 %
for validation and 10 % for test. The hash needs no seed, so every command divides a table in the same way, and a query
that is added later does not move any other. Texts that differ only in case or spaces have the same hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console, tables
from gti_cli.errors import InputError
from gti_cli.tables.columns import name_unread, refuse_unknown_items
from gti_cli.tables.histories import SPLITS
from gti_cli.tables.sources.location import in_terms_of_the_file

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("query", "item_id", "relevance", "query_id", "split")
NO, MAYBE, GOOD = 0, 1, 2  # the grades of relevance
_SPLIT_OF_TENTH = ("train",) * 8 + ("valid", "test")


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

    train: list[Query]
    valid: list[Query]
    test: list[Query]
    counts: dict[str, int]
    path: str

    def part(self, name: str) -> list[Query]:
        """Return the queries of ``train``, ``valid`` or ``test``.

        Raises:
            InputError: When there are none.
        """
        queries: list[Query] = getattr(self, name)
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
    table = tables.read(path, ["query", "item_id", "relevance"])
    name_unread(table, COLUMNS, path)
    texts = _texts(table, path)
    names = tables.ids(table, "query_id", path) if "query_id" in table.column_names else texts
    items = tables.ids(table, "item_id", path)
    refuse_unknown_items(items, catalogue, path, "rows")
    labels = tables.strings(table, "split", path) if "split" in table.column_names else None
    queries: dict[str, Query] = {}
    split_of: dict[str, str] = {}
    for row, (name, text, item, grade) in enumerate(zip(names, texts, items, _grades(table, path), strict=True)):
        query = queries.setdefault(name, Query(name, text, {}))
        label = labels[row] if labels is not None else _split_by_hash(text)
        _check_row(query, text, item, grade, (label, split_of.setdefault(name, label)), f"{path}, row {row + 1:,}")
        query.relevance[item] = grade
    parts = {part: [query for name, query in queries.items() if split_of[name] == part] for part in SPLITS}
    counts = {
        "queries": len(queries),
        "query_items": sum(len(query.relevance) for query in queries.values()),
        **{f"queries_{part}": len(members) for part, members in parts.items()},
        "queries_without_good": sum(not query.items() for query in queries.values()),
    }
    if counts["queries_without_good"]:
        console.note(f"{counts['queries_without_good']:,} of {len(queries):,} queries have no item of relevance 2")
    return Queries(parts["train"], parts["valid"], parts["test"], counts, str(path))


def _texts(table: pa.Table, path: Path | str) -> list[str]:
    texts = tables.strings(table, "query", path)
    if "" in texts:
        where = f"{path}, column 'query', row {texts.index('') + 1:,}"
        raise InputError("the query is empty", where=where, remedy="fill it in or drop the row")
    return texts


def _grades(table: pa.Table, path: Path | str) -> list[int]:
    grades: list[int] = tables.integers(table, "relevance", path).tolist()
    for row, grade in enumerate(grades, start=1):
        if grade not in (NO, MAYBE, GOOD):
            raise InputError(
                f"{grade} is no grade of relevance",
                where=f"{path}, column 'relevance', row {row:,}",
                remedy="write 0 (no), 1 (maybe) or 2 (good)",
            )
    return grades


def _check_row(query: Query, text: str, item: str, grade: int, labels: tuple[str, str], where: str) -> None:
    """Refuse a row that contradicts an earlier row of the same query.

    Args:
        query: The query with the grades of the earlier rows.
        text: The text of the query in this row.
        item: The id of the item.
        grade: The grade of the item in this row.
        labels: The split in this row, and the split in the first row of the query.
        where: The place of the row, for error lines.
    """
    label, first_label = labels
    if label not in SPLITS:
        raise InputError(
            f"{label!r} is no split",
            where=where.replace(", row", ", column 'split', row"),
            remedy="write train, valid or test in every row, or drop the column",
        )
    remedy = f"give all rows of a query one text and one split, and one grade to each item (query {query.query_id!r})"
    if text != query.text:
        raise InputError(f"the query reads {text!r} here and {query.text!r} before", where=where, remedy=remedy)
    if label != first_label:
        raise InputError(f"the query is marked {label} here and {first_label} before", where=where, remedy=remedy)
    if query.relevance.get(item, grade) != grade:
        before = query.relevance[item]
        raise InputError(f"item {item!r} has relevance {grade} here and {before} before", where=where, remedy=remedy)


def _split_by_hash(text: str) -> str:
    """Return the split of a query by the hash of its text, without regard to case and spaces."""
    normalized = " ".join(text.casefold().split())
    number = int.from_bytes(hashlib.sha256(normalized.encode()).digest()[:8], "big")
    return _SPLIT_OF_TENTH[number % len(_SPLIT_OF_TENTH)]
