"""Options and requests of `gti recommend`: histories or queries to answer. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.options import option
from gti_cli.recommender.settings import ListSettings, check_history_items, strip_queries
from gti_cli.tables.arrays.encoded import encode_ids, encode_strings
from gti_cli.tables.arrays.item_texts import ItemTexts
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.row_lists import RowLists
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.tables.columns import name_unread
from gti_cli.tables.equal_times import InteractionKeywords, InteractionOptions
from gti_cli.tables.histories import read_interactions
from gti_cli.tables.queries import COLUMNS as QUERY_COLUMNS

PIECE = 8192  # users whose prompts and lists are in memory at a time


@dataclass(frozen=True)
class RecommendOptions:
    """How a list is made.

    Attributes:
        k: Number of items in a list.
        search: ``exact``, which provably finds the most probable items, ``beam``, which may miss some, or ``auto``:
            exact for up to 300 users or queries, unless ``beams`` is given.
        beams: Hypotheses of the beam search, at least ``k``; more are added for seen items. None: ``k``, at least 20.
        exclude: Table of `item_id`: items that are never recommended. They are not searched, so that they take no
            place in a beam.
        only: Table of `item_id`: the only items that are recommended. No others are searched.
        candidates: Table of `user_id` and `item_id`: score exactly these items for each user, and search for no others.
        filter_seen: Whether to leave out items of the user's own history.
        max_history: Most items of a history that a prompt shows. None: as in fine-tuning.
        batch_size: Prompts in a batch. It changes the speed, not the results.
    """

    k: int = option(10, "Items for each user or query.", flag="-k,--k")
    search: str = option(
        "auto", "exact: provably the most probable items; beam: may miss some; auto: exact for up to 300 users."
    )
    beams: int | None = option(
        None, "Hypotheses of the beam search; more are added for seen items.", shown="as many as items, 20 or more"
    )
    exclude: Path | str | None = option(
        None, "Table of item_id: never recommended (out of stock, ...).", written=str | None
    )
    only: Path | str | None = option(None, "Table of item_id: the only items that are recommended.", written=str | None)
    candidates: Path | str | None = option(
        None,
        "Table of user_id, item_id (score): a retriever's items for each user, to be put in the model's order.",
        written=str | None,
    )
    filter_seen: bool = option(False, "Do not recommend items of the user's own history.")
    max_history: int | None = option(None, "Most items shown.", shown="as in fine-tuning")
    batch_size: int = option(32, "Prompts in a batch; changes the speed only.")

    def check(self) -> None:
        """Check the values.

        Raises:
            InputError: When a value is out of range.
        """
        self.settings().check()
        if self.candidates is not None and (self.search != "auto" or self.beams is not None):
            raise InputError(
                "--candidates are scored exactly, without a search", remedy="leave out --search and --beams"
            )

    def settings(self) -> ListSettings:
        """How the lists are made, without what may be in them."""
        return ListSettings(self.k, self.search, self.beams, self.batch_size, self.max_history)


class RecommendKeywords(InteractionKeywords, total=False):
    """`RecommendOptions` and `InteractionOptions` as keywords."""

    k: int
    search: str
    beams: int | None
    exclude: Path | str | None
    only: Path | str | None
    candidates: Path | str | None
    filter_seen: bool
    max_history: int | None
    batch_size: int


@dataclass(frozen=True)
class RecommendationRequests:
    """The users or the queries for which items are recommended.

    Attributes:
        histories: Item ids of each user, oldest first. None where there are queries.
        queries: Words of each query. None where there are histories.
    """

    histories: Mapping[str, list[str]] | None
    queries: Mapping[str, str] | None

    def __len__(self) -> int:
        return len(self.histories if self.histories is not None else self.queries or {})

    def pieces(self) -> Iterator[RecommendationRequests]:
        """The requests, at most `PIECE` at a time; those that were not read from a table all at once."""
        if len(self) <= PIECE or not isinstance(self.histories or self.queries, UserLists | ItemTexts):
            yield self
            return
        for start in range(0, len(self), PIECE):
            if isinstance(self.histories, UserLists):
                yield RecommendationRequests(self.histories.part(start, start + PIECE), None)
            elif isinstance(self.queries, ItemTexts):
                yield RecommendationRequests(None, self.queries.part(start, start + PIECE))

    @cached_property
    def names(self) -> Sequence[str]:
        """Ids of the users or queries."""
        if isinstance(self.histories, UserLists):
            return self.histories.users
        if isinstance(self.queries, ItemTexts):
            return self.queries.row_of.names
        return list(self.histories if self.histories is not None else self.queries or {})

    def query_texts(self) -> list[str]:
        """Words of each query, without white space at either end."""
        queries = self.queries or {}
        return [text.strip() for text in (queries.texts if isinstance(queries, ItemTexts) else queries.values())]

    def rows(self, row_of: Mapping[str, int]) -> RowLists:
        """Catalogue rows of each user's history.

        Args:
            row_of: Row of the catalogue of each item.
        """
        histories = self.histories or {}
        if isinstance(histories, UserLists):
            return histories.row_lists(row_of)
        return RowLists.of([[row_of[item] for item in items] for items in histories.values()])

    @property
    def unit(self) -> str:
        """What the requests are: ``users`` or ``queries``."""
        return "users" if self.histories is not None else "queries"


@tables.in_terms_of_the_file
def read_requests(
    histories: Mapping[str, Sequence[str]] | None,
    queries: Mapping[str, str] | None,
    table: Path | str | None,
    row_of: Mapping[str, int],
    reading: InteractionOptions = InteractionOptions(),
) -> RecommendationRequests:
    """The requests from one of three sources, of which exactly one is given.

    Args:
        histories: Item ids of each user, oldest first.
        queries: Words of each query.
        table: Table of interactions, or of queries where it has a column `query`.
        row_of: Row of the catalogue of each item.
        reading: How a table of interactions is read.

    Raises:
        InputError: When none or several are given, or a query or history is empty.
        InputError: When the catalogue does not have an item.
    """
    sources = {"a history": histories, "a query": queries, "a table": table}
    given = [name for name, source in sources.items() if source is not None]
    if len(given) != 1:
        raise InputError(
            f"{' and '.join(given)} are given at once" if given else "it is not said for whom to recommend",
            remedy="give one of --history, --query and --input",
        )
    has_queries = table is not None and "query" in tables.read(table, []).column_names
    reading.check(reads_table=table is not None and not has_queries)
    if table is not None:
        if has_queries:
            return RecommendationRequests(None, _read_queries(table))
        return RecommendationRequests(read_interactions(table, row_of, options=reading).items, None)
    if queries is not None:
        return RecommendationRequests(None, dict(zip(queries, strip_queries(queries.values()), strict=True)))
    of_users = {user: list(items) for user, items in (histories or {}).items()}
    check_history_items(of_users.values(), row_of)
    return RecommendationRequests(of_users, None)


def _read_queries(path: Path | str) -> ItemTexts:
    """Words of each query; the table may repeat a query for each judged item, as that of `gti evaluate` does."""
    import numpy as np

    table = tables.read(path, ["query"])
    name_unread(table, QUERY_COLUMNS, path)
    texts = encode_strings(table, "query", path)
    names = encode_ids(table, "query_id", path) if "query_id" in table.column_names else texts
    all_texts = Names(texts.texts)
    empty = texts.codes == int(all_texts.numbers_of([""])[0])
    first_text = np.empty(len(names.texts), dtype=np.int32)
    first_text[names.codes[::-1]] = texts.codes[::-1]  # the text of the first row of each query
    faulty = np.flatnonzero(empty | (first_text[names.codes] != texts.codes))
    if len(faulty):
        row = int(faulty[0])
        if empty[row]:
            where = f"{path}, column 'query', row {row + 1:,}"
            raise InputError("the query is empty", where=where, remedy="fill it in or drop the row")
        name, text = Names(names.texts)[int(names.codes[row])], all_texts[int(texts.codes[row])]
        before = all_texts[int(first_text[names.codes[row]])]
        raise InputError(
            f"the query {name!r} reads {text!r} here and {before!r} before",
            where=f"{path}, column 'query_id', row {row + 1:,}",
            remedy="give each query an id of its own",
        )
    return ItemTexts(Names(names.texts), all_texts.take(first_text))
