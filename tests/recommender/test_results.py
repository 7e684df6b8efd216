"""Answers become JSON as they are."""

from __future__ import annotations

import json
from dataclasses import asdict

from gti_cli.recommender.results import RecommendedItem, RecommendedList


def test_a_list_is_json() -> None:
    found = RecommendedList([RecommendedItem(1, "A", "Hat", -0.5)], False, 2)
    assert json.loads(json.dumps(asdict(found))) == {
        "items": [{"rank": 1, "item_id": "A", "title": "Hat", "score": -0.5}],
        "proven": False,
        "cut": 2,
    }
