from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.serving import FakeRecommender, listed, served


def run(work: Any, *arguments: Any, **options: Any) -> Any:
    async def serve() -> Any:
        async with served(*arguments, **options) as server:
            return await asyncio.wait_for(work(server), 20)

    return asyncio.run(serve())


def test_32_clients_at_once_get_each_their_own_list() -> None:
    fake = FakeRecommender()
    wishes: list[dict[str, Any]] = [
        {"history": [f"i{n}", f"i{n + 1}"], "k": 3, **extra}
        for n, extra in zip(
            range(32),
            [{}, {"exclude": ["i5", "i6"]}, {"only": [f"i{m}" for m in range(0, 50, 2)]}, {"filter_seen": True}] * 8,
            strict=True,
        )
    ]

    async def work(server: Any) -> Any:
        return await asyncio.gather(*(server.client.post("/recommend", json=wish) for wish in wishes))

    for wish, answer in zip(wishes, run(work, fake, max_wait_ms=50.0), strict=True):
        extra = {name: value for name, value in wish.items() if name not in ("history", "k")}
        assert listed(answer) == fake.expected(wish["history"], 3, **extra)
    assert len(fake.batches) <= 3  # different wishes are answered together


def test_an_answer_holds_titles_scores_and_what_was_cut() -> None:
    async def work(server: Any) -> Any:
        return await server.client.post("/recommend", json={"history": ["i3"], "k": 1})

    assert run(work).json() == {
        "items": [{"rank": 1, "item_id": "i4", "title": "Dress <i4>", "score": -0.125}],
        "proven": True,
        "cut": 1,
    }


def test_several_users_in_one_request() -> None:
    async def work(server: Any) -> Any:
        users = [{"history": [f"i{n}"]} for n in range(5)]
        return await server.client.post("/recommend", json={"users": users, "k": 2})

    answer = run(work, max_batch=2).json()
    assert [[item["item_id"] for item in one["items"]] for one in answer["users"]] == [
        [f"i{n + 1}", f"i{n + 2}"] for n in range(5)
    ]


def test_search_items_and_similar() -> None:
    async def work(server: Any) -> None:
        assert listed(await server.client.post("/search", json={"query": "red", "k": 2})) == ["i4", "i5"]
        item = await server.client.get("/items/i7")
        assert item.json() == {"item_id": "i7", "title": "Dress <i7>", "tokens": "<a_7>"}
        assert listed(await server.client.get("/similar/i7?k=2")) == ["i1", "i2"]
        for path in ("/items/x", "/similar/x", "/items/a/b%2F?c"):
            missing = await server.client.get(path)
            assert (missing.status_code, "without a semantic ID" in missing.json()["detail"]) == (404, True)

    run(work)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"history": ["x"]}, "items without a semantic ID: 'x'"),
        ({}, "Give either 'history' or 'users'."),
        ({"history": ["i1"], "users": [{"history": ["i1"]}]}, "Give either"),
        ({"history": []}, "history: List should have at least 1 item"),
        ({"history": ["i1"], "k": 101}, "k 101 is more than this server lists. Ask for 100 items or fewer."),
        ({"history": ["i1"], "k": 0}, "k: Input should be greater"),
        ({"history": ["i1"], "k": "3"}, "k: Input should be a valid integer"),
        ({"history": ["i1"] * 6}, "a history of 6 items is longer than this server reads"),
        ({"users": [{"history": ["i1"]}] * 4}, "4 users are more than"),
        ({"history": ["i1"], "filter": True}, "body: There is no field 'filter' here; the fields are k, exclude"),
        ({"history": ["\ud800"]}, "history.0: The text has letters"),
        ([], "body: Input should be"),
    ],
)
def test_refusals_say_what_is_wrong(body: Any, words: str) -> None:
    import json

    async def work(server: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        return await server.client.post("/recommend", content=json.dumps(body), headers=headers)

    answer = run(work, max_history=5, max_users=3)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]


def test_what_is_no_json_is_400_and_what_is_not_said_to_be_json_is_refused() -> None:
    async def work(server: Any) -> None:
        json_header = {"Content-Type": "application/json"}
        broken = await server.client.post("/recommend", content=b"{", headers=json_header)
        assert (broken.status_code, "no JSON" in broken.json()["detail"]) == (400, True)
        # Another site's page could send such a body without asking first (no CORS preflight).
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            sent = await server.client.post("/reload", content=b"{}", headers={"Content-Type": kind})
            assert (sent.status_code, "Content-Type: application/json" in sent.json()["detail"]) == (415, True)
        for content in (b'{"history": ["i1"]}', b""):
            sent = await server.client.post("/recommend", content=content)  # no Content-Type at all
            assert (sent.status_code, "Content-Type: application/json" in sent.json()["detail"]) == (415, True)
        empty = await server.client.post("/reload", headers=json_header)
        assert empty.status_code in (400, 422) and isinstance(empty.json()["detail"], str)


def test_a_choice_that_leaves_no_item_is_said_without_flags_and_before_it_waits() -> None:
    fake = FakeRecommender()

    async def work(server: Any) -> Any:
        fake.gate.clear()
        posted = [
            await server.client.post("/recommend", json={"history": ["i1"], "only": []}),
            await server.client.post("/recommend", json={"history": ["i1"], "only": ["i2"], "exclude": ["i2", "i3"]}),
            await server.client.post("/search", json={"query": "red", "only": []}),
        ]
        return [(answer.status_code, answer.json()["detail"]) for answer in posted]

    for code, said in run(work, fake, timeout=0.5):
        assert code == 422 and said.startswith("'only' and 'exclude' leave no item") and "--" not in said

    run(work)


def test_one_wrong_request_leaves_the_others_their_lists() -> None:
    async def work(server: Any) -> Any:
        bodies = [{"history": ["x" if n == 7 else f"i{n}"], "k": 1} for n in range(12)]
        return await asyncio.gather(*(server.client.post("/recommend", json=body) for body in bodies))

    answers = run(work, max_wait_ms=50.0)
    assert [answer.status_code for answer in answers] == [422 if n == 7 else 200 for n in range(12)]
    assert [listed(answer) for n, answer in enumerate(answers) if n != 7] == [
        [f"i{n + 1}"] for n in range(12) if n != 7
    ]


def test_unknown_items_are_refused_before_they_wait() -> None:
    fake = FakeRecommender()
    bodies: list[dict[str, Any]] = [
        {"history": ["i1", "x"]},
        {"users": [{"history": ["i1"]}, {"history": ["x"]}]},
        {"history": ["i1"], "exclude": ["x"]},
        {"history": ["i1"], "only": ["x", "i2"]},
        {"query": "red", "only": ["x"]},
    ]

    async def work(server: Any) -> Any:
        # A call of the recommender, with any items, would wait here for longer than the test may take.
        fake.gate.clear()
        paths = ["/search" if "query" in body else "/recommend" for body in bodies]
        posted = [await server.client.post(path, json=body) for path, body in zip(paths, bodies, strict=True)]
        return [*posted, await server.client.get("/similar/x"), await server.client.get("/items/x")]

    answers = run(work, fake, timeout=0.5)
    assert [answer.status_code for answer in answers] == [422] * 5 + [404] * 2
    assert all("items without a semantic ID: 'x'" in answer.json()["detail"] for answer in answers)


def test_a_bug_is_500_for_the_one_who_met_it() -> None:
    async def work(server: Any) -> Any:
        words = ("red", "break", "blue")
        return await asyncio.gather(*(server.client.post("/search", json={"query": word}) for word in words))

    assert [answer.status_code for answer in run(work, max_wait_ms=50.0)] == [200, 500, 200]


def test_a_flood_gets_503_with_a_time_and_nothing_is_lost() -> None:
    fake = FakeRecommender()
    fake.gate.clear()

    async def work(server: Any) -> Any:
        bodies = [{"history": [f"i{n % 40}"], "k": 1} for n in range(97)]
        asked = [asyncio.ensure_future(server.client.post("/recommend", json=bodies[0]))]
        assert await asyncio.to_thread(fake.entered.wait, 10)
        asked += [asyncio.ensure_future(server.client.post("/recommend", json=body)) for body in bodies[1:]]
        while sum(task.done() for task in asked) < 80:
            await asyncio.sleep(0.005)
        assert (await server.client.get("/health")).json()["waiting"] == 16
        fake.gate.set()
        return await asyncio.gather(*asked)

    answers = run(work, fake, max_batch=4, max_queue=16, max_users=16, max_wait_ms=0.0)
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 80
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    for n, answer in enumerate(answers):
        if answer.status_code != 503:
            assert listed(answer) == fake.expected([f"i{n % 40}"], 1)


def test_what_takes_too_long_gets_504() -> None:
    fake = FakeRecommender()
    fake.gate.clear()

    async def work(server: Any) -> Any:
        first, second = await asyncio.gather(
            *(server.client.post("/recommend", json={"history": [f"i{n}"]}) for n in range(2))
        )
        fake.gate.set()
        return [first.status_code, second.status_code, first.json()["detail"]]

    assert run(work, fake, timeout=0.05) == [504, 504, "There was no answer within 0.05 seconds."]
