"""Every refusal has one shape, whoever refuses."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.serving import served


def test_what_the_framework_refuses_is_said_in_a_sentence_as_json() -> None:
    json_header = {"Content-Type": "application/json"}

    async def work() -> list[Any]:
        async with served(max_body_kb=1) as server:
            ask = server.client.request
            return [
                await ask("GET", "/nowhere"),
                await ask("GET", "/recommend"),
                await ask("DELETE", "/items/i1"),
                await ask("GET", "/health", headers={"Host": "evil.example"}),
                await ask("POST", "/recommend", content=b" " * 1025, headers=json_header),
                await ask("POST", "/recommend", content=b"\xff\xfe{}", headers=json_header),
                await ask("POST", "/search", json={"query": "break"}),  # a bug of the recommender
                await ask("GET", "/similar/i1?k=0"),
            ]

    answers = asyncio.run(work())
    assert [answer.status_code for answer in answers] == [404, 405, 405, 400, 413, 400, 500, 422]
    for answer in answers:
        assert answer.headers["content-type"] == "application/json"
        said = answer.json()["detail"]
        assert list(answer.json()) == ["detail"] and said[0].isalnum() and said.endswith(".") and " " in said
        assert int(answer.headers["content-length"]) == len(answer.content)
    assert answers[1].headers["allow"] == "POST"
