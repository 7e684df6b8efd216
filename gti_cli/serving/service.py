"""The recommender that answers now, its queue, and how another one takes its place."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import HTTPException, Request

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.serving.batching import Batcher, BatchLimits, QueueFullError
from gti_cli.serving.metrics import Metrics
from gti_cli.serving.options import ServeOptions
from gti_cli.serving.work import AskedList, Lists

if TYPE_CHECKING:
    from gti_cli.recommender.recommender import Recommender

T = TypeVar("T")


class ClientLeftError(Exception):
    """The client closed its connection before the answer was there."""


class Service:
    """A recommender that stays loaded, with a queue in front of it.

    Attributes:
        recommender: The one that answers now.
        options: What the server allows.
        metrics: Its counters.
        loaded: When the recommender was loaded, in UTC.
    """

    def __init__(self, load: Callable[[str | None], Recommender], options: ServeOptions) -> None:
        """Load the first recommender.

        Args:
            load: Loads a recommender: that of a checkpoint of the workspace, or for None that of the command line.
            options: What the server allows.

        Raises:
            InputError: When it cannot be loaded, or cannot make a list with these options.
        """
        self._load, self._is_loading = load, False
        self._checkpoint: str | None = None  # that of the command line
        self.options, self.metrics = options, Metrics()
        self._task: asyncio.Task[None] | None = None
        self._take(self._load_and_try(None))
        limits = BatchLimits(options.max_batch, options.max_wait_ms / 1000, options.max_queue)
        self._batcher = Batcher(self._answer, limits, self._observe)

    def _take(self, recommender: Recommender) -> None:
        self.recommender = recommender
        self.loaded = datetime.now(timezone.utc).isoformat(timespec="seconds")

    def _answer(self, kind: Any, payloads: list[Any]) -> list[Any]:
        """Answer a batch; the whole batch asks one recommender, also when another one is taken up meanwhile."""
        answers: list[Any] = kind.answer(self.recommender, payloads)
        return answers

    def _observe(self, size: int, seconds: float) -> None:
        self.metrics.observe_batch(size, seconds, self.waiting)
        cache = self.recommender.prompt_cache
        if cache is not None:
            self.metrics.observe_cache(cache.take_use(), cache.bytes)

    @property
    def is_working(self) -> bool:
        """Whether batches are being answered. They stop when the server does, or by a bug."""
        return self._task is not None and not self._task.done()

    @property
    def waiting(self) -> int:
        """Number of users and queries in the queue."""
        return len(self._batcher)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests as long as the block runs."""
        self._task = asyncio.create_task(self._batcher.run())
        try:
            yield
        finally:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def ask(self, request: Request, kind: Any, payloads: Sequence[Any]) -> list[Any]:
        """Return the answers to the payloads of a request.

        Args:
            request: The request. If its client leaves, its payloads leave the queue.
            kind: A kind of work, see `gti_cli.serving.work`.
            payloads: What it is to be done for.

        Raises:
            HTTPException: 503 when the queue is full, 504 when the answers are not there in time.
            InputError: When a payload cannot be answered.
            ClientLeftError: When the client has gone.
        """
        try:
            return await _unless_left(request, self._batcher.submit(kind, payloads, self.options.timeout))
        except QueueFullError as error:
            raise HTTPException(
                503,
                f"{self.waiting:,} users and queries are waiting, and there is no room for more. Come again later.",
                headers={"Retry-After": str(error.retry_after)},
            ) from None
        except asyncio.TimeoutError:
            raise HTTPException(504, f"There was no answer within {self.options.timeout:g} seconds.") from None

    async def reload(self, checkpoint: str | None) -> float:
        """Load anew, check what was loaded, and let it answer from now on. If that fails, the old one stays.

        Args:
            checkpoint: A checkpoint of the workspace. None: the present one, with the items that the workspace has now.

        Returns:
            The seconds that it took.

        Raises:
            HTTPException: 409 when a reload is going on.
            InputError: When the new one cannot be loaded.
        """
        if self._is_loading:
            raise HTTPException(409, "The server is loading already. Come again when it has finished.")
        self._is_loading, start = True, time.perf_counter()
        wanted = checkpoint if checkpoint is not None else self._checkpoint
        try:
            # Not in the thread of the batches: they go on while the new recommender loads.
            self._take(await asyncio.to_thread(self._load_and_try, wanted))
        except Exception as error:
            self.metrics.reloads.labels("failed").inc()
            console.warn(f"kept {self.recommender.name}: the reload failed: {error}")
            raise
        finally:
            self._is_loading = False
        self._checkpoint = wanted
        self.metrics.reloads.labels("done").inc()
        seconds = time.perf_counter() - start
        console.note(f"{self.recommender.name} answers, {len(self.recommender.item_ids):,} items ({seconds:.1f} s)")
        return seconds

    def _load_and_try(self, checkpoint: str | None) -> Recommender:
        """Load a recommender and let it make one list, so that one that cannot answer is never taken up."""
        recommender = self._load(checkpoint)
        kind = Lists("histories", 1, self.options.search, self.options.beams)
        first = kind.answer(recommender, [AskedList([recommender.item_ids[0]], [], None)])[0]
        if not first.items:
            raise InputError("the checkpoint recommends nothing", where=recommender.name)
        return recommender


async def _unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns; stop it when the client closes the connection.

    Args:
        request: A request whose body has been read.
        work: What to wait for.

    Raises:
        ClientLeftError: When the client has gone.
    """
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_leaving(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientLeftError
    finally:
        task.cancel()
        left.cancel()


async def _wait_for_leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
