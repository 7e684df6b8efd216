"""What `gti recommend` returns: the items of each list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recommendation:
    """One item of a recommendation list.

    Attributes:
        user_id: Id of the user, or of the query.
        rank: Place in the list, from 1.
        item_id: Id of the item.
        title: Title of the item.
        score: Log-probability of the item's semantic ID.
        proven: Whether the search proves that no more probable item is missing in the list.
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
