"""Candidates that another recommender found, ranked by the language model: `gti recommend --candidates`.

`read_candidates` reads the table, and `rank_candidates` puts each user's candidates in the order of their exact scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.decoding.candidate_scores import CandidateLists
from gti_cli.decoding.ranked_items import ItemLists
from gti_cli.decoding.search_parts import ScoreRequest, Searcher, score_parts
from gti_cli.errors import InputError, list_some
from gti_cli.recommendation.requests import RecommendationRequests
from gti_cli.tables.arrays.encoded import encode_ids, encode_strings
from gti_cli.tables.arrays.item_rows import rows_of
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.row_lists import RowLists
from gti_cli.tables.columns import name_unread
from gti_cli.tables.near_misses import near_miss
from gti_cli.tables.text_types import readable_column

if TYPE_CHECKING:
    import pyarrow as pa

# Columns that `gti recommend -o` writes, so that its own lists can be candidates. The last two are not read.
_COLUMNS = ("user_id", "query_id", "query", "item_id", "score", "rank", "title")


@dataclass(frozen=True)
class Candidates:
    """The candidates of each request, in the order of the file.

    Attributes:
        lists: Catalogue rows, each once for a request.
        retriever_scores: (C,) float64. The other recommender's scores, NaN where it gave none; None where it gave none
            at all.
    """

    lists: CandidateLists
    retriever_scores: npt.NDArray[np.float64] | None

    def part(self, start: int, stop: int) -> Candidates:
        """The candidates of the requests ``start`` to ``stop`` - 1."""
        offsets = self.lists.offsets[start : stop + 1]
        places = slice(offsets[0], offsets[-1])
        scores = None if self.retriever_scores is None else self.retriever_scores[places]
        return Candidates(CandidateLists(offsets - offsets[0], self.lists.rows[places]), scores)

    def only(self, kept: npt.NDArray[np.bool_]) -> Candidates:
        """Leave candidates out.

        Args:
            kept: (C,) which of them stay.
        """
        offsets = np.append(0, kept.cumsum())[self.lists.offsets]
        scores = None if self.retriever_scores is None else self.retriever_scores[kept]
        return Candidates(CandidateLists(offsets, self.lists.rows[kept]), scores)


@tables.in_terms_of_the_file
def read_candidates(
    path: Path | str, requests: RecommendationRequests, row_of: Mapping[str, int], *, names_are_given: bool
) -> Candidates:
    """Read a table of candidates, and say what in it cannot be used.

    Args:
        path: A table of `item_id`, optionally `score`, and the user or query of each row: `user_id`; `query_id` or
            `query`. One user or query that was not read from a table needs no such column.
        requests: Whose candidates are wanted.
        row_of: Row of the catalogue of each item.
        names_are_given: The users or queries were read from a table, so that their ids are known.

    Raises:
        InputError: When a column or an id is missing, or a score is not a number.
        InputError: When there are no candidates of items of the catalogue for any of the requests.
        InputError: When the candidates are those of several users or queries, and it is not known of which.
    """
    table = tables.read(path, ["item_id"])
    name_unread(table, _COLUMNS, path)
    items, table = encode_ids(table, "item_id", path), table.drop_columns(["item_id"])
    scores = _finite_scores(table, path) if "score" in table.column_names else None
    owner = _owners(table, path, requests, names_are_given)
    del table
    of_item = rows_of(row_of, Names(items.texts))
    row = of_item[items.codes]
    _say_unknown(Names(items.texts), of_item < 0, int((row < 0).sum()), row_of, path)
    usable = np.flatnonzero((owner >= 0) & (row >= 0))
    # Each item once for a request: the first row of it counts.
    _, first = np.unique(owner[usable] * len(row_of) + row[usable], return_index=True)
    if len(first) < len(usable):
        console.note(f"{path}: rows that repeat a candidate: {len(usable) - len(first):,}; the first of each counts")
    usable = usable[np.sort(first)]
    usable = usable[np.argsort(owner[usable], kind="stable")]
    counts = np.bincount(owner[usable], minlength=len(requests.names))
    without = int((counts == 0).sum())
    if without:
        console.warn(f"{without:,} of {len(counts):,} {requests.unit} have no candidates: nothing is listed for them")
    lists = CandidateLists(np.append(0, counts.cumsum()), row[usable])
    scores = scores[usable] if scores is not None else np.full(len(usable), np.nan)
    return Candidates(lists, None if np.isnan(scores).all() else scores)


def _owners(
    table: pa.Table, path: Path | str, requests: RecommendationRequests, names_are_given: bool
) -> npt.NDArray[np.int64]:
    """The number of the request of each row; -1 for users and queries that are not asked for."""
    wanted = ("user_id",) if requests.queries is None else ("query_id", "query")
    column = next((name for name in wanted if name in table.column_names), None)
    is_single = not names_are_given and len(requests.names) == 1
    if column is None:
        if is_single:
            return np.zeros(table.num_rows, dtype=np.int64)
        tables.read(path, [wanted[0]])  # refuses the table, with the columns that it has
    assert column is not None
    if column == "query":
        encoded, known = encode_strings(table, column, path), Names.of(requests.query_texts())
    else:
        names = requests.names
        encoded = encode_ids(table, column, path)
        known = Names.of(names if isinstance(names, Names) else map(str, names))
    distinct = Names(encoded.texts)
    if is_single and len(distinct) == 1:
        return np.zeros(len(encoded.codes), dtype=np.int64)
    if is_single:
        raise InputError(
            f"these are the candidates of {len(distinct):,} {requests.unit}, and one was asked for without an id",
            where=f"{path}, column {column!r}",
            remedy="give the rows of one alone, or the histories or queries as a table (--input)",
        )
    numbers = known.last_numbers_of(distinct)
    unknown = list(distinct.take(np.flatnonzero(numbers < 0)))
    if len(unknown) == len(distinct):
        miss = near_miss(unknown, known)
        raise InputError(
            f"none of the {len(distinct):,} {requests.unit} is among those to recommend for: "
            f"{list_some(unknown)}{miss.problem if miss else ''}",
            where=f"{path}, column {column!r}",
            remedy=miss.remedy if miss else "give candidates for the users or queries of --input",
        )
    if unknown:
        console.note(f"{path}: {len(unknown):,} of {len(distinct):,} {requests.unit} are not asked for: not scored")
    return numbers[encoded.codes]


def _finite_scores(table: pa.Table, path: Path | str) -> npt.NDArray[np.float64]:
    """The column ``score``; NaN where it is missing, or infinite: so retrievers mark what they rule out."""
    scores = _read_scores(table, path)
    is_infinite = np.isinf(scores)
    if is_infinite.any():
        console.note(f"{path}: {int(is_infinite.sum()):,} scores are infinite: not shown, as if they were missing")
    return np.where(is_infinite, np.nan, scores)


def _read_scores(table: pa.Table, path: Path | str) -> npt.NDArray[np.float64]:
    """The column ``score``; NaN where it is missing. A CSV file has it as text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = readable_column(table, "score", path)
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy())
    scores = np.full(table.num_rows, np.nan)
    for row, value in enumerate(column.to_pylist()):
        if value is None or value == "":
            continue
        try:
            scores[row] = float(value)
        except (TypeError, ValueError):
            raise InputError(
                f"the score {value!r} is not a number",
                where=f"{path}, column 'score', row {row + 1:,}",
                remedy="correct it, or give the table without the column",
            ) from None
    return scores


def _say_unknown(
    items: Names, is_unknown: npt.NDArray[np.bool_], rows: int, row_of: Mapping[str, int], path: Path | str
) -> None:
    """Say how many items the catalogue does not have; refuse a table in which no item is known.

    Args:
        items: The different items of the table.
        is_unknown: Which of them the catalogue does not have.
        rows: Number of rows with these.
        row_of: Row of the catalogue of each item.
        path: The table, for what is said.
    """
    unknown = list(items.take(np.flatnonzero(is_unknown)))
    if not unknown:
        return
    miss = near_miss(unknown, row_of)
    distinct = len(items)
    problem = f"{len(unknown):,} of {distinct:,} candidate items are not in the catalogue: {list_some(unknown)}"
    if len(unknown) == distinct:
        raise InputError(
            f"{problem}{miss.problem if miss else ''}",
            where=f"{path}, column 'item_id', row 1",
            remedy=miss.remedy if miss else "give item ids as the catalogue has them ('item_id')",
        )
    advice = f"{miss.problem}; {miss.remedy}" if miss else ""
    console.warn(f"{path}: {problem}{advice}; rows left out: {rows:,}")


def rank_candidates(
    searcher: Searcher,
    request: ScoreRequest,
    *,
    k: int,
    batch_size: int,
    unit: str,
    folder: Path | None = None,
) -> tuple[ItemLists, npt.NDArray[np.int64]]:
    """Put the candidates of each request in the order of the language model.

    Args:
        searcher: The model, and the trie of the whole catalogue.
        request: The prompts and their candidates.
        k: Most items of a list.
        batch_size: Most prompts in a batch. It changes the speed, not the results.
        unit: ``users`` or ``queries``.
        folder: Where finished parts are stored and shared, as for `gti_cli.decoding.search_parts.search_parts`.

    Returns:
        Catalogue rows and exact scores, best first; at most ``k`` for a request. Items that share a semantic ID share a
        score, and stand in the order of the file. Then the place of each listed item among all candidates.
    """
    lists = request.candidates
    scores = score_parts(
        searcher, request, batch_size=batch_size, folder=folder, description="Scoring candidates", unit=unit
    )
    owners = np.repeat(np.arange(len(lists.counts)), lists.counts)
    order = np.lexsort((-scores, owners))  # stable
    ranked = ItemLists.first(owners, order, scores[order], len(lists.counts), k)
    places = ranked.rows.astype(np.int64)
    return ItemLists(ranked.offsets, lists.rows[places], ranked.scores), places


def say_longer(lists: CandidateLists, k: int, unit: str) -> None:
    """Say for how many requests more candidates are ranked than listed.

    Args:
        lists: The candidates of all requests.
        k: Most items of a list.
        unit: ``users`` or ``queries``.
    """
    most = int(lists.counts.max(initial=0))
    if most > k:
        of = f"{int((lists.counts > k).sum()):,} of {len(lists.counts):,} {unit}"
        console.note(f"the first {k} candidates are listed where there are more ({of}): -k {most} lists all")


def leave_out(
    candidates: Candidates, allowed: npt.NDArray[np.bool_] | None, hidden: RowLists | None, unit: str
) -> Candidates:
    """Leave out what `--only`, `--exclude` and `--filter-seen` forbid, and say how much.

    Args:
        candidates: The candidates of each request.
        allowed: (N,) which rows of the catalogue may be recommended. None: all.
        hidden: For each request, rows that its list must not have. None: there are none.
        unit: ``users`` or ``queries``.

    Raises:
        InputError: When no candidate is left.
    """
    lists = candidates.lists
    kept = np.ones(len(lists.rows), dtype=bool) if allowed is None else allowed[lists.rows]
    if hidden is not None:
        kept &= ~hidden.has(np.repeat(np.arange(len(lists.counts)), lists.counts), lists.rows)
    if kept.all() and len(kept):
        return candidates
    if not kept.any():
        raise InputError("no candidate is left to be ranked", remedy="give other candidates, or restrict them less")
    left = candidates.only(kept)
    emptied = int(((left.lists.counts == 0) & (lists.counts > 0)).sum())
    console.note(
        f"{len(kept) - int(kept.sum()):,} of {len(kept):,} candidates are left out by --only, --exclude or "
        f"--filter-seen{f'; {emptied:,} {unit} have none left' if emptied else ''}"
    )
    return left
