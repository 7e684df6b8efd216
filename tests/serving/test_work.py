from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gti_cli.recommendation.recommend import recommend
from gti_cli.recommender.recommender import Recommender
from gti_cli.serving.work import AskedList, Lists, SimilarItems
from tests.support.evaluation import World, make_world
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


def test_restrictions_are_handed_on_for_each_request() -> None:
    fake = FakeRecommender()
    batch = [AskedList(["i1"], ["i2"], None), AskedList(["i1"], [], ["i9", "i8"]), AskedList(["i1"], [], None)]
    lists = Lists("histories", 2).answer(fake, batch)  # type: ignore[arg-type]
    assert [[item.item_id for item in found.items] for found in lists] == [["i3", "i4"], ["i8", "i9"], ["i2", "i3"]]


def test_similar_items_are_those_of_the_recommender() -> None:
    fake = FakeRecommender()
    answers = SimilarItems(2).answer(fake, ["i5", "i6"])  # type: ignore[arg-type]
    assert answers == [fake.similar("i5", 2), fake.similar("i6", 2)]
