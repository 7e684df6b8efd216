"""Requests that come together are answered together: a bounded queue in front of one worker thread.

The event loop holds the queue; the thread runs the model. While the model works, requests gather, and the next batch
takes the oldest of them and all others that want the same kind of work.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

_REMEMBERED = 0.9  # weight of what was known before in the running mean of the time for one piece of work


class QueueFullError(Exception):
    """The queue has no room for a request.

    Args:
        retry_after: Seconds after which there will probably be room, at least 1.
    """

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(retry_after)


@dataclass(frozen=True)
class BatchLimits:
    """How many pieces of work are in a batch and in the queue.

    Attributes:
        most: Most pieces of work in a batch.
        wait: Most seconds that the oldest piece of work waits for others.
        queue: Most pieces of work in the queue, without the batch that is being answered.
    """

    most: int
    wait: float
    queue: int


@dataclass(eq=False)
class _Waiting:
    """One piece of work in the queue, such as the history of one user."""

    kind: Hashable
    payload: Any
    arrived: float
    answer: asyncio.Future[Any]


class Batcher:
    """Answers pieces of work in batches, one batch at a time.

    Args:
        answer: Called in the worker thread with a kind of work and the payloads of a batch. Returns one answer for each
            payload, in their order.
        limits: Sizes of batches and of the queue.
        on_batch: Called in the event loop with the size of each batch, and the seconds that it took.
    """

    def __init__(
        self,
        answer: Callable[[Any, list[Any]], Sequence[Any]],
        limits: BatchLimits,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._answer, self._limits, self._on_batch = answer, limits, on_batch
        self._queue: deque[_Waiting] = deque()
        self._arrived, self._is_gathering = asyncio.Event(), False
        self._seconds_each = 0.0

    def __len__(self) -> int:
        """Return the number of pieces of work that wait."""
        return len(self._queue)

    async def submit(self, kind: Hashable, payloads: Sequence[Any], timeout: float) -> list[Any]:
        """Return the answers to the payloads. What is not answered when the caller gives up leaves the queue.

        Args:
            kind: What is to be done. Equal kinds are answered together.
            payloads: What it is to be done for.
            timeout: Seconds to wait.

        Raises:
            QueueFullError: When there is no room for all payloads.
            asyncio.TimeoutError: When the answers are not there in time.
            Exception: What the answer to one of the payloads raised.
        """
        if len(self._queue) + len(payloads) > self._limits.queue:
            raise QueueFullError(max(1, math.ceil(len(self._queue) * self._seconds_each)))
        loop = asyncio.get_running_loop()
        now = loop.time()
        entries = [_Waiting(kind, payload, now, loop.create_future()) for payload in payloads]
        self._queue.extend(entries)
        if not self._is_gathering or len(self._queue) >= self._limits.most:
            self._arrived.set()  # a batch that is not full yet waits for its time to pass, without being woken
        answers = [entry.answer for entry in entries]
        try:
            done, waiting = await asyncio.wait(answers, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION)
            failures = [failure for answer in done if (failure := answer.exception()) is not None]
            if failures:
                raise failures[0]
            if waiting:
                raise asyncio.TimeoutError
            return [answer.result() for answer in answers]
        finally:
            # One failure ends the whole request, so that its other payloads need no answer either.
            cancelled = [answer.cancel() for answer in answers]
            if any(cancelled):
                self._queue = deque(entry for entry in self._queue if not entry.answer.done())

    async def run(self) -> None:
        """Answer what arrives until this task is cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="gti-model") as thread:
            while True:
                batch = await self._next_batch()
                start = loop.time()
                answers = await loop.run_in_executor(
                    thread, self._answer_all, batch[0].kind, [entry.payload for entry in batch]
                )
                seconds = loop.time() - start
                for entry, answer in zip(batch, answers, strict=True):
                    if entry.answer.done():  # the client has gone
                        continue
                    if isinstance(answer, Exception):
                        entry.answer.set_exception(answer)
                    else:
                        entry.answer.set_result(answer)
                self._remember(seconds / len(batch))
                self._on_batch(len(batch), seconds)

    async def _next_batch(self) -> list[_Waiting]:
        """Wait until a batch is full, or its oldest piece of work has waited long enough; take it from the queue."""
        loop = asyncio.get_running_loop()
        while True:
            self._arrived.clear()
            if not self._queue:
                await self._arrived.wait()
                continue
            oldest = self._queue[0]
            alike = (entry for entry in self._queue if entry.kind == oldest.kind)
            batch = list(itertools.islice(alike, self._limits.most))
            left = oldest.arrived + self._limits.wait - loop.time()
            if len(batch) >= self._limits.most or left <= 0:
                taken = set(map(id, batch))
                self._queue = deque(entry for entry in self._queue if id(entry) not in taken)
                return batch
            self._is_gathering = True
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)
            self._is_gathering = False

    def _answer_all(self, kind: Any, payloads: list[Any]) -> list[Any]:
        """Return an answer or an exception for each payload.

        One payload that cannot be answered must not spoil the others: a batch that fails is divided in two, and so on.
        """
        try:
            answers = list(self._answer(kind, payloads))
            if len(answers) != len(payloads):
                raise RuntimeError(f"{len(answers)} answers to {len(payloads)} payloads")
            return answers
        except Exception as error:
            if len(payloads) == 1:
                return [error]
            half = len(payloads) // 2
            return self._answer_all(kind, payloads[:half]) + self._answer_all(kind, payloads[half:])

    def _remember(self, seconds: float) -> None:
        """Keep a running mean of the time for one piece of work."""
        known = self._seconds_each or seconds
        self._seconds_each = _REMEMBERED * known + (1 - _REMEMBERED) * seconds
