from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from gti_cli.serving.batching import Batcher, BatchLimits, QueueFullError


class Doubler:
    """Doubles numbers; records the batches. A kind is part of each answer; 13 cannot be doubled."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, kind: str, numbers: list[int]) -> list[tuple[str, int]]:
        self.entered.set()
        assert self.gate.wait(20)
        self.batches.append((kind, numbers))
        if 13 in numbers:
            raise ValueError("13")
        return [(kind, 2 * number) for number in numbers]


def run(work: Any, doubler: Doubler, *, most: int = 4, wait: float = 0.0, queue: int = 100) -> Any:
    """Run ``work(batcher)`` beside a running batcher."""

    async def both() -> Any:
        batcher = Batcher(doubler, BatchLimits(most, wait, queue))
        task = asyncio.create_task(batcher.run())
        try:
            return await asyncio.wait_for(work(batcher), 20)
        finally:
            doubler.gate.set()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return asyncio.run(both())


async def entered(doubler: Doubler) -> None:
    assert await asyncio.to_thread(doubler.entered.wait, 10)


def test_everybody_gets_his_own_answer_and_batches_are_full() -> None:
    doubler = Doubler()

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.submit("a", [n, n + 100], 10) for n in range(6)))

    answers = run(work, doubler)
    assert answers == [[("a", 2 * n), ("a", 2 * n + 200)] for n in range(6)]
    assert [len(batch) for _, batch in doubler.batches] == [4, 4, 4]


def test_kinds_are_not_mixed_and_the_oldest_comes_first() -> None:
    doubler = Doubler()

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.submit("ab"[n % 2], [n], 10) for n in range(6)))

    assert run(work, doubler) == [[("ab"[n % 2], 2 * n)] for n in range(6)]
    assert doubler.batches == [("a", [0, 2, 4]), ("b", [1, 3, 5])]


def test_waits_for_others_but_not_longer_than_it_may() -> None:
    doubler = Doubler()

    async def work(batcher: Batcher) -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        first = asyncio.create_task(batcher.submit("a", [1], 10))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, batcher.submit("a", [2], 10))
        return loop.time() - start

    seconds = run(work, doubler, wait=0.2)
    assert doubler.batches == [("a", [1, 2])]
    assert seconds >= 0.2
    full = Doubler()

    async def fill(batcher: Batcher) -> Any:
        return await batcher.submit("a", [1, 2, 3, 4], 10)

    assert len(run(fill, full, wait=1000)) == 4  # a full batch waits for nobody


def test_who_asks_again_at_once_is_waited_for_and_a_single_client_does_not_wait() -> None:
    doubler = Doubler()

    async def client(batcher: Batcher, number: int, times: int) -> None:
        for _ in range(times):
            await batcher.submit("a", [number], 10)
            await asyncio.sleep(0.001 * number)

    async def work(batcher: Batcher) -> float:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(client(batcher, n, 3) for n in range(3)))
        await client(batcher, 1, 1)  # nobody else comes, which the batcher does not know yet
        start = loop.time()
        await client(batcher, 1, 3)
        return loop.time() - start

    seconds = run(work, doubler, wait=0.5, most=50)
    assert [len(batch) for _, batch in doubler.batches] == [3, 3, 3, 1, 1, 1, 1]
    assert seconds < 0.5


def test_one_bad_payload_spoils_nobody_else() -> None:
    doubler = Doubler()

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.submit("a", [n], 10) for n in (1, 13, 3, 4)), return_exceptions=True)

    first, bad, third, fourth = run(work, doubler)
    assert (first, third, fourth) == ([("a", 2)], [("a", 6)], [("a", 8)])
    assert isinstance(bad, ValueError)
    assert ("a", [3, 4]) in doubler.batches  # the others are still answered together


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    doubler = Doubler()
    doubler.gate.clear()

    async def work(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.submit("a", [0], 10))]
        await entered(doubler)
        tasks.append(asyncio.create_task(batcher.submit("a", [1, 2, 3], 10)))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError) as refused:
            await batcher.submit("a", [4, 5], 10)
        assert refused.value.retry_after >= 1
        tasks.append(asyncio.create_task(batcher.submit("a", [6], 10)))  # one still has room
        await asyncio.sleep(0)
        doubler.gate.set()
        assert await asyncio.gather(*tasks) == [[("a", 0)], [("a", 2), ("a", 4), ("a", 6)], [("a", 12)]]

    run(work, doubler, queue=4)


@pytest.mark.parametrize("leave", ["cancelled", "late"])
def test_who_gives_up_leaves_the_queue(leave: str) -> None:
    doubler = Doubler()
    doubler.gate.clear()

    async def work(batcher: Batcher) -> None:
        kept = asyncio.create_task(batcher.submit("a", [0], 10))
        await entered(doubler)
        gone: Coroutine[Any, Any, Any] = batcher.submit("a", [1, 2], 10 if leave == "cancelled" else 0.01)
        task = asyncio.create_task(gone)
        await asyncio.sleep(0)
        assert len(batcher) == 2
        if leave == "cancelled":
            task.cancel()
        with pytest.raises(asyncio.CancelledError if leave == "cancelled" else asyncio.TimeoutError):
            await task
        assert len(batcher) == 0
        doubler.gate.set()
        assert await kept == [("a", 0)]

    run(work, doubler)
    assert doubler.batches == [("a", [0])]


def test_an_answer_too_few_is_a_bug_and_not_a_mix_up() -> None:
    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.submit("a", [n], 10) for n in range(3)), return_exceptions=True)

    class Loses(Doubler):
        def __call__(self, kind: str, numbers: list[int]) -> list[tuple[str, int]]:
            return super().__call__(kind, numbers)[1:]

    assert [type(answer) for answer in run(work, Loses())] == [RuntimeError] * 3
