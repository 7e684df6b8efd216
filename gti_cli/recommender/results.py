"""What a `gti_cli.Recommender` answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gti_cli.decoding.ranked_items import RankedItems


@dataclass(frozen=True)
class RecommendedItem:
    """One item of a list.

    Attributes:
        rank: Place in the list, from 1.
        item_id: Id of the item.
        title: Title of the item; "" where it has none.
        score: Log-probability of the item's semantic ID; of a blend, a number whose order alone has a meaning.
    """

    rank: int
    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class RecommendedList:
    """The answer to one history or query.

    Attributes:
        items: Best first. Fewer than were asked for where fewer may be recommended.
        proven: Whether the search proves that no more probable item is missing. A blend does not search.
        cut: Number of items of the history that lie further back than a prompt shows; 0 for a query.
    """

    items: list[RecommendedItem]
    proven: bool = True
    cut: int = 0


def as_list(
    found: RankedItems, item_ids: Sequence[str], titles: Mapping[str, str], proven: bool, cut: int
) -> RecommendedList:
    """Look up ids and titles of the items that a search found.

    Args:
        found: Catalogue rows and scores, best first.
        item_ids: Item id of each catalogue row.
        titles: Title of each item by its id.
        proven: As in `RecommendedList`.
        cut: As in `RecommendedList`.
    """
    ids = [item_ids[row] for row in found.rows]
    items = [
        RecommendedItem(rank, item, titles.get(item, ""), score)
        for rank, (item, score) in enumerate(zip(ids, found.scores, strict=True), 1)
    ]
    return RecommendedList(items, proven, cut)


@dataclass(frozen=True)
class LevelScore:
    """What one code adds to the score of an item.

    Attributes:
        token: The new token of the code, such as ``<a_12>``.
        code: The code.
        log_probability: Of the code behind the prompt and the codes before it. Those of all levels add up to the score.
    """

    token: str
    code: int
    log_probability: float


@dataclass(frozen=True)
class SimilarItem:
    """An item that is like another one.

    Attributes:
        rank: Place in the list, from 1.
        item_id: Id of the item.
        title: Title of the item; "" where it has none.
        similarity: Cosine of the two items' embeddings; None where there are no embeddings.
        shared_levels: Number of codes, from the first on, that both semantic IDs begin with.
    """

    rank: int
    item_id: str
    title: str
    similarity: float | None
    shared_levels: int


@dataclass(frozen=True)
class TrainedOn:
    """What a checkpoint was fine-tuned to answer; None where nothing tells.

    Attributes:
        histories: Whether it learned to name the next item of a history.
        queries: Whether it learned to name the items that fit a query.
    """

    histories: bool | None = None
    queries: bool | None = None
