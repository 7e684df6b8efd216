from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gti_cli.recommendation.recommend import recommend
from gti_cli.recommender.recommender import Recommender
from gti_cli.serving.app import make_app
from gti_cli.serving.options import ServeOptions
from gti_cli.serving.service import Service
from gti_cli.serving.work import AskedList, Lists, SimilarItems
from tests.support.evaluation import World, make_world
from tests.support.page import served as over_network
from tests.support.serving import FakeRecommender, served


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("served"))


def wishes(world: World) -> list[dict[str, Any]]:
    """32 requests of four sorts."""
    ids = world.item_ids
    histories = [[ids[row] for row in rows] for rows in world.histories.values()]
    sorts: list[dict[str, Any]] = [{}, {"exclude": ids[:5]}, {"only": ids[::2]}, {"filter_seen": True}]
    return [{"history": histories[n % len(histories)], "k": 5, **sorts[n % 4]} for n in range(32)]


def test_32_clients_at_once_get_the_lists_of_gti_recommend(world: World, tmp_path: Path) -> None:
    from gti_cli import tables

    async def work() -> Any:
        async with served(Recommender.load(world.workspace), max_wait_ms=20.0) as server:
            posts = [server.client.post("/recommend", json=wish) for wish in wishes(world)]
            return await asyncio.gather(*posts)

    answers = asyncio.run(work())
    for sort in range(4):
        numbers = range(sort, 32, 4)
        asked = [wishes(world)[n] for n in numbers]
        options: dict[str, Any] = {"k": 5, "filter_seen": "filter_seen" in asked[0]}
        for name in ("exclude", "only"):
            if name in asked[0]:
                options[name] = tmp_path / f"{name}.parquet"
                tables.write(options[name], {"item_id": asked[0][name]})
        histories = {str(n): wish["history"] for n, wish in zip(numbers, asked, strict=True)}
        found = recommend(world.workspace, histories=histories, **options)
        for n in numbers:
            expected = [entry for entry in found if entry.user_id == str(n)]
            items = answers[n].json()["items"]
            assert [(item["rank"], item["item_id"], item["title"]) for item in items] == [
                (entry.rank, entry.item_id, entry.title) for entry in expected
            ]
            assert [item["score"] for item in items] == pytest.approx([entry.score for entry in expected], abs=1e-5)


def test_a_real_server_under_load_loses_and_mixes_up_nothing(world: World) -> None:
    """32 clients, of whom two leave in the middle, more than the queue holds, and a reload while they ask."""
    loaded = [Recommender.load(world.workspace, device="cpu", cache_bytes=size) for size in (0, 1 << 20)]
    loads = iter([loaded[0], loaded[1]])  # the second one keeps prompts
    ids, refused, stop = world.item_ids, [], threading.Event()
    histories = [[ids[n % len(ids)], ids[(7 * n + 1) % len(ids)]] for n in range(32)]
    expected = [[item.item_id for item in found.items] for found in loaded[0].recommend(histories, k=3)]
    options = ServeOptions(max_batch=4, max_wait_ms=0.0, max_queue=8, max_users=8)

    with over_network(make_app(Service(lambda name: next(loads), options))) as url:
        address = httpx2.URL(url)

        def leave(n: int) -> None:
            body = json.dumps({"users": [{"history": histories[n]}] * 6}).encode()
            head = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            with socket.create_connection((address.host, address.port or 0)) as connection:
                connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

        def ask(n: int) -> set[bool]:
            if n % 16 == 5:
                leave(n)
            right, asked = set(), 0
            with httpx2.Client(base_url=url, timeout=60) as client:
                while asked < 2 or not stop.is_set():
                    answer = client.post("/recommend", json={"history": histories[n], "k": 3})
                    if answer.status_code == 503:
                        refused.append(int(answer.headers["retry-after"]))
                        time.sleep(0.02)
                        continue
                    right.add([item["item_id"] for item in answer.json()["items"]] == expected[n])
                    asked += 1
                    time.sleep(0.1)
            return right

        with ThreadPoolExecutor(32) as clients:
            running = [clients.submit(ask, n) for n in range(32)]
            time.sleep(0.1)
            reloaded = httpx2.post(f"{url}/reload", json={}, timeout=60)
            stop.set()
            assert [client.result() for client in running] == [{True}] * 32
        assert reloaded.status_code == 200 and min(refused) >= 1
        figures = httpx2.get(f"{url}/metrics").text
        assert "gti_queue_length 0.0" in figures and 'gti_reloads_total{outcome="done"} 1.0' in figures


def test_restrictions_are_handed_on_for_each_request() -> None:
    fake = FakeRecommender()
    batch = [AskedList(["i1"], ["i2"], None), AskedList(["i1"], [], ["i9", "i8"]), AskedList(["i1"], [], None)]
    lists = Lists("histories", 2).answer(fake, batch)  # type: ignore[arg-type]
    assert [[item.item_id for item in found.items] for found in lists] == [["i3", "i4"], ["i8", "i9"], ["i2", "i3"]]


def test_similar_items_are_those_of_the_recommender() -> None:
    fake = FakeRecommender()
    answers = SimilarItems(2).answer(fake, ["i5", "i6"])  # type: ignore[arg-type]
    assert answers == [fake.similar("i5", 2), fake.similar("i6", 2)]
