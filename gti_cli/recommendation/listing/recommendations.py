"""What `gti recommend` returns: the items of each list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.recommendation.listing.candidates import Candidates


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


def as_recommendations(
    names: Sequence[str],
    lists: Sequence[RankedItems],
    proven: Sequence[bool],
    item_ids: Sequence[str],
    titles: Mapping[str, str],
    candidates: Candidates | None = None,
) -> Recommendations:
    """Give each item of each list its rank, its id and its title.

    Args:
        names: Ids of the users or queries.
        lists: The items of each, best first.
        proven: Whether each list is proven to be the best.
        item_ids: Item id of each catalogue row.
        titles: Title of each item by its id; an item without one gets "".
        candidates: The candidates that were ranked, whose own scores are kept.
    """
    return Recommendations(
        Recommendation(
            name,
            rank,
            item_ids[row],
            titles.get(item_ids[row], ""),
            score,
            is_proven,
            None if candidates is None else candidates.retriever_score(number, row),
        )
        for number, (name, items, is_proven) in enumerate(zip(names, lists, proven, strict=True))
        for rank, (row, score) in enumerate(zip(items.rows, items.scores, strict=True), start=1)
    )
