"""Search queries with graded items, and which of the queries train, validate and test.

A ``split`` column says it for each query. Without one, a hash of the query's words decides: about 80 % train, 10 %
validate, 10 % test. It needs no seed, so every command divides a table alike, and a query that is added later moves no
other one. Two spellings of one query that differ in case or spaces only fall on the same side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console, tables
from gti_cli.errors import InputError, examples

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "valid", "test")
NO, MAYBE, GOOD = 0, 1, 2  # the grades of relevance
_TENTHS = ("train",) * 8 + ("valid", "test")


@dataclass(frozen=True)
class Query:
    """A query and what was judged for it.

    Attributes:
        query_id: its id (its words where the table has no `query_id`). text: its words.
        relevance: item id -> grade 0 (no), 1 (maybe), 2 (good), in the table's order; other items were not judged.
    """

    query_id: str
    text: str
    relevance: dict[str, int]

    def items(self, least: int = GOOD) -> list[str]:
        """The items of grade ``least`` or better, in the table's order."""
        return [item for item, grade in self.relevance.items() if grade >= least]


@dataclass(frozen=True)
class Queries:
    """All queries, divided; each list in order of first appearance.

    Attributes:
        train, valid, test: every query is in one of them.
        counts: queries, query_items (judgements, a pair that stands there twice counted once), queries_train,
            queries_valid, queries_test, queries_without_good (no item of grade 2).
        path: the table, for error lines.
    """

    train: list[Query]
    valid: list[Query]
    test: list[Query]
    counts: dict[str, int]
    path: str

    def part(self, name: str) -> list[Query]:
        """The queries of ``train``, ``valid`` or ``test``.

        Raises:
            InputError: there are none.
        """
        found: list[Query] = getattr(self, name)
        if not found:
            raise InputError(
                f"none of the {self.counts['queries']:,} queries is for {name}",
                where=self.path,
                remedy=f"mark some {name} in a column 'split', or give more queries",
            )
        return found


def read_queries(path: Path | str, known: Collection[str]) -> Queries:
    """Read a table of `query`, `item_id`, `relevance` and optionally `query_id` and `split`, one row a judgement.

    Args:
        path: Parquet, CSV or JSONL. known: the catalogue's item ids.

    Raises:
        InputError: a missing column or value, a grade that is none, items that are not ``known``, a query with two
            texts, two splits or two grades for one item; with the first row concerned.
    """
    table = tables.read(path, ["query", "item_id", "relevance"])
    texts = _texts(table, path)
    names = tables.ids(table, "query_id", path) if "query_id" in table.column_names else texts
    items = tables.ids(table, "item_id", path)
    _check_known(items, known, path)
    labels = tables.strings(table, "split", path) if "split" in table.column_names else None
    queries: dict[str, Query] = {}
    split_of: dict[str, str] = {}
    for row, (name, text, item, grade) in enumerate(zip(names, texts, items, _grades(table, path), strict=True)):
        query = queries.setdefault(name, Query(name, text, {}))
        label = labels[row] if labels is not None else _hashed(text)
        _check(query, text, item, grade, (label, split_of.setdefault(name, label)), f"{path}, row {row + 1:,}")
        query.relevance[item] = grade
    parts = {part: [query for name, query in queries.items() if split_of[name] == part] for part in SPLITS}
    counts = {
        "queries": len(queries),
        "query_items": sum(len(query.relevance) for query in queries.values()),
        **{f"queries_{part}": len(found) for part, found in parts.items()},
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


def _check_known(items: Sequence[str], known: Collection[str], path: Path | str) -> None:
    catalogue = known if isinstance(known, set | frozenset | dict) else set(known)
    unknown = list(dict.fromkeys(item for item in items if item not in catalogue))
    if unknown:
        raise InputError(
            f"items without a semantic ID: {examples(unknown)}",
            where=f"{path}, column 'item_id', row {items.index(unknown[0]) + 1:,}",
            remedy="drop these rows, or run 'gti build-ids' on a catalogue that has the items",
        )


def _check(query: Query, text: str, item: str, grade: int, labels: tuple[str, str], where: str) -> None:
    """Refuse a row that contradicts an earlier one of its query; ``labels``: its split, and that of the first row."""
    label, first = labels
    if label not in SPLITS:
        raise InputError(
            f"{label!r} is no split",
            where=where.replace(", row", ", column 'split', row"),
            remedy="write train, valid or test in every row, or drop the column",
        )
    remedy = f"give all rows of a query one text and one split, and one grade to each item (query {query.query_id!r})"
    if text != query.text:
        raise InputError(f"the query reads {text!r} here and {query.text!r} before", where=where, remedy=remedy)
    if label != first:
        raise InputError(f"the query is marked {label} here and {first} before", where=where, remedy=remedy)
    if query.relevance.get(item, grade) != grade:
        before = query.relevance[item]
        raise InputError(f"item {item!r} has relevance {grade} here and {before} before", where=where, remedy=remedy)


def _hashed(text: str) -> str:
    words = " ".join(text.casefold().split())
    return _TENTHS[int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") % len(_TENTHS)]
