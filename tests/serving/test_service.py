from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.serving.options import ServeOptions
from gti_cli.serving.service import Service
from tests.support.serving import FakeRecommender, listed, served


def test_a_client_that_leaves_is_dropped_and_the_others_are_answered() -> None:
    fake = FakeRecommender()

    async def ask_and_leave(server: Any, left: asyncio.Event) -> int:
        """One request over a connection that closes when ``left`` is set, as the web server reports it."""
        body, statuses = json.dumps({"history": ["i9"]}).encode(), []
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/recommend", "headers": headers, "query_string": b""}
        await server.app({**scope, "asgi": {"version": "3.0"}, "scheme": "http", "root_path": ""}, receive, send)
        return int(statuses[0])

    async def work() -> None:
        async with served(fake, max_wait_ms=0.0) as server:
            fake.gate.clear()
            first = asyncio.ensure_future(server.client.post("/recommend", json={"history": ["i1"], "k": 1}))
            assert await asyncio.to_thread(fake.entered.wait, 10)
            left = asyncio.Event()
            leaving = asyncio.ensure_future(ask_and_leave(server, left))
            second = asyncio.ensure_future(server.client.post("/recommend", json={"history": ["i2"], "k": 1}))
            while server.service.waiting < 2:
                await asyncio.sleep(0.001)
            left.set()
            assert await leaving == 499
            assert server.service.waiting == 1
            fake.gate.set()
            assert [listed(await answer) for answer in (first, second)] == [["i2"], ["i3"]]

    asyncio.run(asyncio.wait_for(work(), 20))
    assert ["i9"] not in [history for batch in fake.batches for history in batch]


def test_reload_under_load_switches_once_and_loses_nothing() -> None:
    old, new = FakeRecommender("old"), FakeRecommender("new", items=60, step=2)
    loaded: list[str | None] = []

    def load(name: str | None) -> Any:
        loaded.append(name)
        return old if len(loaded) == 1 else new

    async def work() -> None:
        async with served(load=load, max_batch=4, max_wait_ms=0.0) as server:

            async def client(n: int) -> list[str]:
                return [
                    listed(await server.client.post("/recommend", json={"history": [f"i{n}"], "k": 1}))[0]
                    for _ in range(12)
                ]

            clients = [asyncio.ensure_future(client(n)) for n in range(8)]
            await asyncio.sleep(0.01)
            answer = await server.client.post("/reload", json={"checkpoint": "new"})
            assert answer.json().items() >= {"checkpoint": "new", "items": 60}.items()
            for n, lists in enumerate(await asyncio.gather(*clients)):
                before = [item == f"i{n + 1}" for item in lists]
                assert {*lists} <= {f"i{n + 1}", f"i{n + 2}"}
                assert before == sorted(before, reverse=True)  # the old one never comes back
            assert listed(await server.client.post("/recommend", json={"history": ["i58"], "k": 1})) == ["i0"]
            assert (await server.client.get("/health")).json()["checkpoint"] == "new"
            await server.client.post("/reload", json={})  # takes up new items of the checkpoint that answers now

    asyncio.run(asyncio.wait_for(work(), 20))
    assert loaded == [None, "new", "new"]


@pytest.mark.parametrize("fault", ["cannot load", "recommends nothing", "a bug"])
def test_a_reload_that_fails_keeps_the_old_one(fault: str) -> None:
    old, first = FakeRecommender("old"), [True]

    def load(name: str | None) -> Any:
        if first.pop() if first else False:
            return old
        if fault == "recommends nothing":
            return FakeRecommender("empty", items=1)
        raise InputError("cannot load") if fault == "cannot load" else RuntimeError("a bug")

    async def work() -> None:
        async with served(load=load) as server:
            answer = await server.client.post("/reload", json={"checkpoint": "other"})
            assert answer.status_code == (500 if fault == "a bug" else 422)
            if fault != "a bug":
                assert fault in answer.json()["detail"]
            assert listed(await server.client.post("/recommend", json={"history": ["i1"], "k": 1})) == ["i2"]
            assert (await server.client.get("/health")).json()["checkpoint"] == "old"
            assert b'gti_reloads_total{outcome="failed"} 1.0' in server.service.metrics.text()
            again = await server.client.post("/reload", json={})
            assert again.status_code != 409  # a failed reload does not block the next one

    asyncio.run(work())


def test_two_reloads_at_once_and_reloads_of_several_workers_are_refused() -> None:
    async def work(workers: int) -> list[int]:
        fake = FakeRecommender()
        async with served(fake, workers=workers) as server:
            fake.gate.clear()
            first = asyncio.ensure_future(server.client.post("/reload", json={}))
            if workers == 1:
                assert await asyncio.to_thread(fake.entered.wait, 10)
            second = await server.client.post("/reload", json={})
            fake.gate.set()
            return [(await first).status_code, second.status_code]

    assert asyncio.run(work(1)) == [200, 409]
    assert asyncio.run(work(2)) == [409, 409]


def test_what_cannot_be_loaded_is_an_error_before_the_server_starts() -> None:
    def load(name: str | None) -> Any:
        raise InputError("no such checkpoint")

    with pytest.raises(InputError, match="no such checkpoint"):
        Service(load, ServeOptions())


def test_what_cannot_make_a_list_with_these_options_is_an_error_before_the_server_starts() -> None:
    class Blend(FakeRecommender):
        def recommend(self, *arguments: Any, search: str = "auto", **keywords: Any) -> Any:
            if search != "auto":
                raise InputError("--search is for a checkpoint")
            return super().recommend(*arguments, **keywords)

    blend: Any = Blend()
    empty: Any = FakeRecommender(items=1)
    Service(lambda name: blend, ServeOptions())
    with pytest.raises(InputError, match="--search is for a checkpoint"):
        Service(lambda name: blend, ServeOptions(search="exact"))
    with pytest.raises(InputError, match="recommends nothing"):
        Service(lambda name: empty, ServeOptions())


def test_health_says_when_batches_are_no_longer_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with served() as server:
            assert (await server.client.get("/health")).json()["status"] == "ok"
            monkeypatch.setattr(server.service.metrics.batch_size, "observe", lambda size: 1 / 0)  # a bug of ours
            listed(await server.client.post("/recommend", json={"history": ["i1"]}))
            await asyncio.sleep(0)
            answer = await server.client.get("/health")
            assert (answer.status_code, answer.json()["status"]) == (503, "failed")

    with pytest.raises(ZeroDivisionError):
        asyncio.run(work())
