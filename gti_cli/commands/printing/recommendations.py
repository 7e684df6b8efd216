"""The lists of `gti recommend`: written to a file, or printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console

if TYPE_CHECKING:
    from gti_cli.recommendation.listing.recommendations import ListedItems, Recommendation, Recommendations

_COLUMNS = ("rank", "item_id", "title", "score")
PROVEN = "proven"  # in files and JSON; on the screen a warning says it


def _columns(recommendations: Sequence[Recommendation]) -> tuple[str, ...]:
    """The columns of the lists; those scores that the candidates came with, if they did, among them."""
    with_scores = any(recommendation.retriever_score is not None for recommendation in recommendations)
    return (*_COLUMNS, *(["retriever_score"] if with_scores else []), PROVEN)


def _record(recommendation: Recommendation, id_column: str, columns: tuple[str, ...]) -> dict[str, Any]:
    """Return one recommendation by column; the field ``user_id`` holds the id of a query too."""
    values = {name: getattr(recommendation, name) for name in columns}
    return {id_column: recommendation.user_id, **values}


def _kind_and_count(recommendations: Sequence[Recommendation], id_column: str) -> tuple[str, int]:
    kind = "queries" if id_column == "query_id" else "users"
    return kind, len({recommendation.user_id for recommendation in recommendations})


def _reservations(missing: int, asked: str | None) -> dict[str, Any]:
    """Return what a reader of the JSON has to know, since warnings and notes stand on stderr alone.

    Args:
        missing: For how many users or queries the search may have missed more probable items.
        asked: What the checkpoint was asked for although it never saw it in training; None: nothing.
    """
    return {"may_be_missing_for": missing, **({"never_trained_on": asked} if asked is not None else {})}


def write_lists(pieces: Iterator[ListedItems], id_column: str, output: Path) -> None:
    """Write all lists, of which some thousand are in memory at a time."""
    from gti_cli import tables

    lines = count = missing = 0
    asked: str | None = None
    columns: tuple[str, ...] = ()

    def parts() -> Iterator[dict[str, Any]]:
        """The lists of each piece by column."""
        nonlocal lines, count, missing, asked, columns
        for piece in pieces:
            made = piece.columns()
            columns = columns or (*_COLUMNS, *(["retriever_score"] if "retriever_score" in made else []), PROVEN)
            has_items = piece.lists.lengths > 0
            lines, count = lines + len(piece), count + int(has_items.sum())
            missing += int((has_items & ~piece.proven).sum())
            asked = piece.never_trained_on
            yield {id_column: made["user_id"], **{name: made[name] for name in columns}}

    tables.write_parts(output, parts())
    kind = "queries" if id_column == "query_id" else "users"
    console.say(f"{output}  ({lines:,} lines, {count:,} {kind})")
    console.result({"output": str(output), "lines": lines, kind: count, **_reservations(missing, asked)})


def print_lists(recommendations: Recommendations, id_column: str, title: str | None) -> None:
    """Print the recommendations for one history or query, or for a whole table.

    Args:
        recommendations: What the stage returned.
        id_column: ``user_id`` or ``query_id``.
        title: The title of the table; None when there may be several users or queries, which then get a column.
    """
    kind, count = _kind_and_count(recommendations, id_column)
    columns = _columns(recommendations)
    records = [_record(recommendation, id_column, columns) for recommendation in recommendations]
    shown = tuple(name for name in columns if name != PROVEN)
    shown = shown if title is not None else (id_column, *shown)
    console.table(
        title or f"{len(records):,} items for {count:,} {kind}",
        shown,
        [[record[name] for name in shown] for record in records],
    )
    missing = len({recommendation.user_id for recommendation in recommendations if not recommendation.proven})
    reservations = _reservations(missing, recommendations.never_trained_on)
    console.result({"recommendations": records, kind: count, **reservations})
