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


@pytest.mark.parametrize(
    ("body", "place", "said"),
    [
        (
            {"history": ["a"], "K": 3},
            (),
            "no field 'K' here; the fields are k, exclude, only, history, users, filter_seen",
        ),
        ({"users": [{"history": ["a"]}, {"history": ["a"], "k": 1}]}, ("users", 1), "no field 'k' here; .* history"),
        ({"history": ["a"], "{x}": 3, "y" * 999: 4}, (), r"no field '\{x\}', 'y+… here"),
    ],
)
def test_an_unknown_field_is_named_beside_the_known_ones(body: object, place: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        RecommendRequest.model_validate(body)
    assert [fault["loc"] for fault in caught.value.errors()] == [place]
    assert RecommendRequest.model_json_schema()["additionalProperties"] is False


def test_every_refusal_has_a_description() -> None:
    assert {entry["description"] != "" for entry in problems(400, 401, 404, 409, 413, 422, 503, 504).values()} == {True}
