"""The catalogue of a recommender: titles, semantic IDs in both directions, similar items. No model is asked."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from gti_cli.checkpoints.token_names import split_tokens
from gti_cli.errors import InputError
from gti_cli.recommender.results import SimilarItem
from gti_cli.recommender.settings import ListSettings, known_rows
from gti_cli.recommender.similar import Neighbours
from gti_cli.tables import SemanticIDs


class ItemLookup:
    """Looks items up. Several threads may use it.

    Attributes:
        levels: Number of codes in a semantic ID.
        item_ids: All item ids, in the order of the catalogue.
        row_of: Row of the catalogue of each item.
        titles: Title of each item by its id.
    """

    def __init__(self, catalogue: SemanticIDs, titles: Mapping[str, str], embeddings: Path | None) -> None:
        """Take a catalogue.

        Args:
            catalogue: All items with their semantic IDs.
            titles: Title of each item by its id.
            embeddings: File with an embedding of each item; it is read when it is first needed. None: there is none.
        """
        self._catalogue, self.levels = catalogue, catalogue.levels
        self.item_ids: Sequence[str] = catalogue.item_ids
        self.row_of, self.titles = catalogue.row_of(), titles
        self._lookup_lock = threading.Lock()
        self._neighbours = Neighbours(catalogue.codes, embeddings)
        self._rows_of_tokens: dict[tuple[str, ...], list[int]] = {}

    @property
    def similarity_source(self) -> str:
        """What decides which items are `similar`: ``embeddings`` or ``semantic IDs``."""
        return "embeddings" if self._neighbours.uses_embeddings else "semantic IDs"

    def similar(self, item_id: str, k: int = 10) -> list[SimilarItem]:
        """Find the items that are most like one of them; `similarity_source` says by what.

        Args:
            item_id: The item.
            k: Most items.

        Returns:
            By the cosine of the embeddings where there are any; else by the number of codes, from the first on, that
            the semantic IDs share.

        Raises:
            InputError: When the item is unknown.
        """
        ListSettings(k).check()
        row = known_rows([item_id], self.row_of)[0]
        with self._lookup_lock:
            rows, cosines, shared = self._neighbours.nearest(row, k)
        ids = [self.item_ids[other] for other in rows.tolist()]
        similarities = [None] * len(ids) if cosines is None else cosines.tolist()
        return [
            SimilarItem(rank, other, self.titles.get(other, ""), similarity, levels)
            for rank, (other, similarity, levels) in enumerate(zip(ids, similarities, shared.tolist(), strict=True), 1)
        ]

    def rows_of(self, histories: Sequence[Sequence[str]]) -> list[list[int]]:
        """Rows of the catalogue of known items, history by history."""
        return [[self.row_of[item] for item in history] for history in histories]

    def tokens(self, item_id: str) -> str:
        """The tokens of an item, such as ``<a_12><b_3><c_7>``.

        Raises:
            InputError: When the item is unknown.
        """
        return self._catalogue.tokens[known_rows([item_id], self.row_of)[0]]

    def items(self, tokens: str) -> list[str]:
        """The items with a semantic ID: several where items share it, none where no item has it.

        Args:
            tokens: The tokens of all levels. Other text around them does not matter.

        Raises:
            InputError: When these are not the tokens of a semantic ID.
        """
        names = tuple(split_tokens(tokens))
        if len(names) != self.levels:
            raise InputError(
                f"{tokens!r} is no semantic ID of {self.levels} codes",
                remedy=f"write it like {self._catalogue.tokens[0]}",
            )
        with self._lookup_lock:
            if not self._rows_of_tokens:
                for row, text in enumerate(self._catalogue.tokens):
                    self._rows_of_tokens.setdefault(tuple(split_tokens(text)), []).append(row)
        return [self.item_ids[row] for row in self._rows_of_tokens.get(names, [])]
