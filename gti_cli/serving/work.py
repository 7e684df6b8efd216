"""Kinds of work for the model. Requests whose kinds are equal are answered in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gti_cli.recommender.recommender import Recommender


@dataclass(frozen=True)
class AskedList:
    """One list that somebody asks for.

    Attributes:
        asked: Item ids of a history, oldest first, or the words of a query.
        exclude: Items that are not recommended.
        only: The only items that are recommended. None: all.
        filter_seen: Whether items of the history are left out.
    """

    asked: list[str] | str
    exclude: list[str]
    only: list[str] | None
    filter_seen: bool = False


@dataclass(frozen=True)
class Lists:
    """Lists for histories, or for queries. What each of them may have does not keep them apart.

    Attributes:
        of: ``histories`` or ``queries``.
        k: Items of a list.
        search: ``auto``, ``beam`` or ``exact``.
        beams: Hypotheses of the beam search. None: as many as items, 20 or more.
    """

    of: str
    k: int
    search: str = "auto"
    beams: int | None = None

    def answer(self, recommender: Recommender, batch: list[AskedList]) -> list[Any]:
        """Return a list for each that is asked for."""
        restricted = any(one.only is not None for one in batch)
        return list(
            recommender.recommend(
                **{self.of: [one.asked for one in batch]},  # type: ignore[arg-type]
                k=self.k,
                search=self.search,
                beams=self.beams,
                exclude=[one.exclude for one in batch],
                only=[one.only for one in batch] if restricted else None,
                filter_seen=[one.filter_seen for one in batch],
                batch_size=len(batch),
            )
        )


@dataclass(frozen=True)
class SimilarItems:
    """Items similar to others.

    Attributes:
        k: Similar items for each.
    """

    k: int

    def answer(self, recommender: Recommender, item_ids: list[str]) -> list[Any]:
        """Return the similar items of each item."""
        return [recommender.similar(item, self.k) for item in item_ids]


@dataclass(frozen=True)
class Explanations:
    """How the scores of items come about."""

    def answer(self, recommender: Recommender, batch: list[tuple[list[str], str]]) -> list[Any]:
        """Return the recommender, and the log-probability of each code of an item behind a history."""
        return [(recommender, recommender.explain(history=history, item_id=item)) for history, item in batch]
