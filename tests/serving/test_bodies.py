from __future__ import annotations

import pytest
from pydantic import ValidationError

from gti_cli.serving.bodies import RecommendRequest, SearchRequest, problems


def test_defaults_ask_for_ten_items_of_all() -> None:
    body = RecommendRequest.model_validate({"history": ["a"]})
    assert (body.k, body.exclude, body.only, body.filter_seen) == (10, [], None, False)


@pytest.mark.parametrize(
    "body", [{"query": ""}, {"query": 3}, {"query": "a", "k": 1.0}, {"query": "a", "only": "b"}, {"query": "\udc00"}]
)
def test_values_are_not_guessed(body: object) -> None:
    with pytest.raises(ValidationError):
        SearchRequest.model_validate(body)


def test_every_refusal_has_a_description() -> None:
    assert {entry["description"] != "" for entry in problems(400, 401, 404, 409, 413, 422, 503, 504).values()} == {True}
