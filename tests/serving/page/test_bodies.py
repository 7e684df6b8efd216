"""Limits of what the page may ask."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("fastapi")
from pydantic import ValidationError

from gti_cli.serving.page.bodies import MOST_HISTORY, MOST_ITEMS, ItemsRequest, WhyRequest


def test_the_limits_themselves_are_allowed() -> None:
    assert len(ItemsRequest(item_ids=["a"] * MOST_ITEMS).item_ids) == MOST_ITEMS
    assert len(WhyRequest(history=["a"] * MOST_HISTORY, item_id="b").history) == MOST_HISTORY


@pytest.mark.parametrize(
    "fields",
    [
        {"history": ["a"] * (MOST_HISTORY + 1), "item_id": "b"},
        {"history": [], "item_id": "b"},
        {"history": ["a"], "item_id": ""},
        {"history": ["a"], "item_id": 3},
        {"history": [None], "item_id": "b"},
        {"history": ["a"], "item_id": "b", "more": 1},
    ],
)
def test_other_requests_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WhyRequest(**fields)
