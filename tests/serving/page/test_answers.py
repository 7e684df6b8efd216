"""Answers about a catalogue: titles, examples, what is shared."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")

from gti_cli.serving.page.answers import FIRST_CHOICES, PageAnswers
from tests.support.page import SHOP, ShopRecommender


def test_items_are_called_by_their_title_and_without_one_by_their_id() -> None:
    found = PageAnswers(ShopRecommender()).items(["R5", "nobody", "R1"])
    assert found.total == 2
    assert [(item.item_id, item.title) for item in found.items] == [("R5", "R5"), ("R1", "Cobalt Denim Jacket")]


@pytest.mark.parametrize("count", [0, 1, len(SHOP)])
def test_the_items_to_begin_with_are_spread_over_the_catalogue(count: int) -> None:
    about = PageAnswers(ShopRecommender(shop=dict(list(SHOP.items())[:count]))).about()
    assert about.items == count and len({item.item_id for item in about.examples}) == min(count, FIRST_CHOICES)


def test_what_is_shared_is_told_for_each_item_of_the_history_in_its_order() -> None:
    why = PageAnswers(ShopRecommender()).why(["R6", "R4", "R6"], "R5", [])
    assert [(item.item_id, item.same) for item in why.history] == [
        ("R6", [True, False, False]),
        ("R4", [True, True, True]),
        ("R6", [True, False, False]),
    ]
