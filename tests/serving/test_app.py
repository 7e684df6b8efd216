from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.serving import served

KEY = "0123456789abcdef-of-the-shop"


def test_bodies_have_a_limit_also_without_a_length() -> None:
    async def chunks() -> Any:
        for _ in range(3):
            yield b" " * 1024

    async def work() -> None:
        async with served(max_body_kb=2) as server:
            json_header = {"Content-Type": "application/json"}
            for content in (b" " * 2049, chunks()):
                answer = await server.client.post("/recommend", content=content, headers=json_header)
                assert answer.status_code == 413
                assert answer.json() == {"detail": "The body is larger than the 2 KiB that this server reads."}
            body = json.dumps({"history": ["i1"]}).ljust(2048)
            assert (await server.client.post("/recommend", content=body, headers=json_header)).status_code == 200

    asyncio.run(work())


def test_other_host_names_are_refused_as_long_as_there_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEY)

    async def work(**options: Any) -> int:
        async with served(**options) as server:
            return (await server.client.get("/health", headers={"Host": "evil.example"})).status_code

    assert asyncio.run(work()) == 400  # and as JSON, see test_refusals.py
    assert asyncio.run(work(api_key_file=tmp_path / "keys")) == 200


def test_answers_carry_no_permission_for_other_sites() -> None:
    async def work() -> None:
        async with served() as server:
            origin = {"Origin": "https://evil.example"}
            answer = await server.client.get("/items/i1", headers=origin)
            asked = await server.client.options(
                "/recommend", headers={**origin, "Access-Control-Request-Method": "POST"}
            )
            assert not [name for name in (*answer.headers, *asked.headers) if name.startswith("access-control")]

    asyncio.run(work())


def test_the_openapi_document_needs_nothing_from_outside_and_names_every_refusal() -> None:
    async def work() -> Any:
        async with served() as server:
            assert "://" not in (await server.client.get("/docs")).text
            assert (await server.client.get("/redoc")).status_code == 404
            return (await server.client.get("/openapi.json")).json()

    document = asyncio.run(work())
    assert {"/recommend", "/search", "/items/{item_id}", "/similar/{item_id}", "/health", "/metrics", "/reload"} <= {
        *document["paths"]
    }
    assert {"200", "422", "503", "504"} <= {*document["paths"]["/recommend"]["post"]["responses"]}
    assert "HTTPValidationError" not in document["components"]["schemas"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["i1", "i2"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("history", "users", "k", "exclude", "only", "filter_seen", "query", "checkpoint", "item_ids", "item_id")
BODIES = VALUES | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)


def test_no_body_is_a_500() -> None:
    requests = st.lists(
        st.tuples(st.sampled_from(["/recommend", "/search", "/reload"]), BODIES), min_size=9, max_size=9
    )
    loop = asyncio.new_event_loop()
    try:
        server = served(max_wait_ms=0.0)
        running = loop.run_until_complete(server.__aenter__())

        async def ask(path: str, body: Any) -> Any:
            headers = {"Content-Type": "application/json"}
            return await running.client.post(path, content=json.dumps(body), headers=headers)

        @settings(max_examples=40)
        @given(requests)
        def check(requests: list[tuple[str, Any]]) -> None:
            for path, body in requests:
                answer = loop.run_until_complete(ask(path, body))
                assert answer.status_code in (200, 422), (path, body, answer.text)
                assert answer.status_code == 200 or isinstance(answer.json()["detail"], str)

        check()
        loop.run_until_complete(server.__aexit__(None, None, None))
    finally:
        loop.close()
