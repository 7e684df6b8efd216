"""What `GET /metrics` reports, in the text format of Prometheus."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gti_cli.decoding.prompt_cache.kept_prompts import CacheUse

CONTENT_TYPE = CONTENT_TYPE_LATEST
SEVERAL_PROCESSES = "PROMETHEUS_MULTIPROC_DIR"  # the folder in which processes share their figures
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 300)


class Metrics:
    """Counters and histograms of one server.

    Attributes:
        batch_size: Users or queries of each batch.
        batch_seconds: Time of each batch in the model.
        waiting: Users and queries in the queue.
        reloads: Reloads by outcome.
    """

    def __init__(self) -> None:
        here = self._registry = CollectorRegistry()
        self._requests = Counter(
            "gti_requests", "Requests by route and status code.", ["method", "route", "status"], registry=here
        )
        self._seconds = Histogram(
            "gti_request_seconds", "Time from a request to its answer.", ["route"], buckets=_SECONDS, registry=here
        )
        self.batch_size = Histogram(
            "gti_batch_size", "Users or queries that were answered together.", buckets=_SIZES, registry=here
        )
        self.batch_seconds = Histogram(
            "gti_batch_seconds", "Time of a batch in the model.", buckets=_SECONDS, registry=here
        )
        self.waiting = Gauge(
            "gti_queue_length", "Users and queries that wait.", multiprocess_mode="livesum", registry=here
        )
        self._prompts = Counter(
            "gti_prefix_cache_prompts",
            "Prompts by how much of them the prefix cache held: whole, part or none.",
            ["held"],
            registry=here,
        )
        self._tokens = Counter(
            "gti_prefix_cache_tokens", "Tokens of users' prompts, kept from before or read.", ["from"], registry=here
        )
        self._cache_bytes = Gauge(
            "gti_prefix_cache_bytes", "Memory of the prefix cache.", multiprocess_mode="livesum", registry=here
        )
        self.reloads = Counter("gti_reloads", "Reloads by outcome.", ["outcome"], registry=here)
        ProcessCollector(registry=here)

    def observe_batch(self, size: int, seconds: float, waiting: int) -> None:
        """Count a batch.

        Args:
            size: Users or queries in it.
            seconds: Time in the model.
            waiting: Users and queries in the queue afterwards.
        """
        self.waiting.set(waiting)
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)

    def observe_cache(self, used: CacheUse, kept_bytes: int) -> None:
        """Count what the prefix cache was good for.

        Args:
            used: Counts since the last call.
            kept_bytes: Memory that it takes now.
        """
        for held in ("whole", "part", "none"):
            self._prompts.labels(held).inc(getattr(used, held))
        self._tokens.labels("cache").inc(used.tokens_kept)
        self._tokens.labels("model").inc(used.tokens_read)
        self._cache_bytes.set(kept_bytes)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: ``GET``, ``POST``, …
            route: The route's pattern, so that the number of different values is small.
            status: Status code.
            seconds: Time to the answer.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return all figures; with several processes, those of all of them."""
        folder = os.environ.get(SEVERAL_PROCESSES)
        if not folder:
            return generate_latest(self._registry)
        forget_the_dead(Path(folder))
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)


def forget_the_dead(folder: Path) -> None:
    """Remove what processes that have ended said of the present, such as how much waits. Their counts stay.

    Args:
        folder: Where processes share their figures.
    """
    for path in folder.glob("gauge_live*_*.db"):
        number = path.stem.rpartition("_")[2]
        try:
            os.kill(int(number), 0)  # sends nothing: it asks whether the process is there
        except ProcessLookupError:
            mark_process_dead(int(number), str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # it is there


_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
LEFT = 499  # the client has gone; other servers use this code in their logs, too


class CountRequests:
    """ASGI middleware that counts every request.

    Args:
        app: The application.
        metrics: Where to count.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when it has been answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            """Send a part of the answer, and note its status."""
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.observe_request(method, route, status, time.perf_counter() - start)
