"""Lists of recommendations: ranks begin anew with each list, and rows become ids and titles."""

from __future__ import annotations

from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.recommendation.listing.recommendations import Recommendation, as_recommendations


def test_ranks_ids_and_titles() -> None:
    lists = [RankedItems([2, 0], [-1.0, -2.5]), RankedItems([], []), RankedItems([1], [-0.5])]
    made = as_recommendations(["u", "v", "w"], lists, [True, True, False], ["a", "b", "c"], {"a": "A", "c": "C"})
    assert list(made) == [
        Recommendation("u", 1, "c", "C", -1.0, True),
        Recommendation("u", 2, "a", "A", -2.5, True),
        Recommendation("w", 1, "b", "", -0.5, False),
    ]
    assert made.never_trained_on is None
