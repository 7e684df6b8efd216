"""What the page is answered about the catalogue of a recommender."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from gti_cli.checkpoints.token_names import split_tokens
from gti_cli.geometry.sampling import evenly
from gti_cli.serving.page import bodies
from gti_cli.serving.page.code_tree import CodeTree
from gti_cli.serving.page.title_search import TitleIndex

if TYPE_CHECKING:
    from gti_cli.recommender.recommender import Recommender
    from gti_cli.recommender.results import LevelScore

MOST_FOUND = 20  # titles that a search returns
MOST_BRANCHES = 50  # branches of the tree, or items of one Semantic ID, in one answer
EXAMPLES = 3  # example items of a branch
FIRST_CHOICES = 6  # items that the page offers to somebody who does not know the catalogue


class PageAnswers:
    """Answers about one catalogue. No model is asked.

    Args:
        recommender: The loaded recommender. Its tables are kept and its model is not, so that memory is free once
            another one has taken its place.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._name, self._is_blend = recommender.name, recommender.is_blend
        self._item_ids = list(recommender.item_ids)
        # An item without a title is called by its id.
        self._titles = [recommender.titles.get(item) or item for item in self._item_ids]
        self._semantic_ids = [recommender.tokens(item) for item in self._item_ids]
        self._place = {item: place for place, item in enumerate(self._item_ids)}

    @cached_property
    def _tree(self) -> CodeTree:
        return CodeTree(self._semantic_ids)

    @cached_property
    def _index(self) -> TitleIndex:
        return TitleIndex(self._item_ids, self._titles)

    def about(self) -> bodies.About:
        """Say what is loaded, and name a few items to begin with."""
        examples = evenly(len(self._item_ids), FIRST_CHOICES).tolist() if self._item_ids else []
        return bodies.About(
            name=self._name,
            is_blend=self._is_blend,
            items=len(self._item_ids),
            levels=self._tree.sizes,
            examples=self._describe(examples),
        )

    def items(self, item_ids: Sequence[str]) -> bodies.Items:
        """Describe items, without those that the catalogue does not have."""
        found = self._describe([self._place[item] for item in item_ids if item in self._place])
        return bodies.Items(total=len(found), items=found)

    def find(self, query: str) -> bodies.Items:
        """Find items by words of their titles; at most `MOST_FOUND` of them are listed."""
        places = self._index.find(query)
        return bodies.Items(total=len(places), items=self._describe(places[:MOST_FOUND]))

    def why(self, history: Sequence[str], item_id: str, levels: Sequence[LevelScore]) -> bodies.Why:
        """Set an item beside each item of a history, code by code.

        Args:
            history: Item ids.
            item_id: An item of the catalogue.
            levels: The parts of its score.
        """
        codes = split_tokens(self._semantic_ids[self._place[item_id]])
        return bodies.Why(
            levels=[bodies.Level(code=level.token, log_probability=level.log_probability) for level in levels],
            history=[
                bodies.Shared(**item.model_dump(), same=[a == b for a, b in zip(item.codes, codes, strict=True)])
                for item in self.items(history).items
            ],
        )

    def tree(self, prefix: str, start: int) -> bodies.Tree:
        """List what lies behind some first codes.

        Args:
            prefix: The codes; empty for the whole catalogue.
            start: How many branches are left out at the beginning.

        Raises:
            InputError: When no item's Semantic ID begins with these codes.
        """
        found = self._tree.behind(prefix, start, MOST_BRANCHES, EXAMPLES)
        return bodies.Tree(
            prefix=found.codes,
            items=found.items,
            branches=found.branches,
            shown=[
                bodies.TreeBranch(code=branch.code, items=branch.items, examples=self._describe(branch.examples))
                for branch in found.shown
            ],
            found=self._describe(found.rows),
        )

    def _describe(self, places: Sequence[int]) -> list[bodies.PageItem]:
        """Describe the items at some places of the catalogue."""
        return [
            bodies.PageItem(
                item_id=self._item_ids[place],
                title=self._titles[place],
                codes=split_tokens(self._semantic_ids[place]),
            )
            for place in places
        ]
