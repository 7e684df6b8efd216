"""A made-up recommender, whose lists tell for whom they were made; a server around it, asked without a network."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx2
from fastapi import FastAPI

from gti_cli.errors import InputError
from gti_cli.serving.app import make_app
from gti_cli.serving.options import ServeOptions
from gti_cli.serving.service import Service

ITEMS = 50


@dataclass(frozen=True)
class Item:
    rank: int
    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Found:
    items: list[Item]
    proven: bool = True
    cut: int = 0


@dataclass(frozen=True)
class Alike:
    rank: int
    item_id: str
    title: str
    similarity: float | None
    shared_levels: int


class FakeRecommender:
    """Recommends the items behind the last one of a history, in the order of the catalogue.

    Attributes:
        batches: The requests of each call of `recommend`.
        prompt_cache: None, or a cache of prompts, whose use the server counts.
        gate: Calls wait until it is set.
        entered: Set when a call has begun.
    """

    def __init__(self, name: str = "finetuned", items: int = ITEMS, step: int = 1) -> None:
        self.name, self.levels, self.step, self.is_blend = name, 3, step, False
        self.item_ids = [f"i{n}" for n in range(items)]
        self.titles = {item: f"Dress <{item}>" for item in self.item_ids}
        self.row_of = {item: row for row, item in enumerate(self.item_ids)}
        self.batches: list[list[Any]] = []
        self.prompt_cache: Any = None
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()

    def _check(self, items: Sequence[str]) -> None:
        for item in items:
            if item not in self.titles:
                raise InputError(f"items without a semantic ID: {item!r}", remedy="give item ids")

    def expected(
        self,
        asked: Sequence[str] | str,
        k: int,
        exclude: Sequence[str] = (),
        only: Sequence[str] | None = None,
        filter_seen: bool = False,
    ) -> list[str]:
        start = len(asked) if isinstance(asked, str) else self.item_ids.index(asked[-1])
        order = [self.item_ids[(start + self.step * n) % len(self.item_ids)] for n in range(1, len(self.item_ids))]
        kept = [item for item in order if item not in exclude and (only is None or item in only)]
        return [item for item in kept if not (filter_seen and item in asked)][:k]

    def recommend(
        self,
        histories: Sequence[Sequence[str]] | None = None,
        queries: Sequence[str] | None = None,
        *,
        k: int = 10,
        search: str = "auto",
        beams: int | None = None,
        exclude: Sequence[Sequence[str]] = (),
        only: Sequence[Sequence[str] | None] | None = None,
        filter_seen: Sequence[bool] = (),
        batch_size: int = 32,
    ) -> list[Found]:
        self.entered.set()
        assert self.gate.wait(5)
        requests: list[Any] = list(histories if histories is not None else queries or [])
        for asked in requests:
            if histories is not None:
                self._check(asked)
            elif asked == "break":
                raise RuntimeError("a bug")
            elif not asked.strip():
                raise InputError("the query is empty", remedy="give some words")
        self.batches.append(requests)
        lists = []
        for n, asked in enumerate(requests):
            ids = self.expected(asked, k, exclude[n], only[n] if only is not None else None, filter_seen[n])
            items = [Item(rank, item, self.titles[item], -rank / 8) for rank, item in enumerate(ids, 1)]
            lists.append(Found(items, cut=len(asked)))
        return lists

    def tokens(self, item_id: str) -> str:
        self._check([item_id])
        return f"<a_{item_id[1:]}>"

    def similar(self, item_id: str, k: int = 10) -> list[Alike]:
        self._check([item_id])
        return [Alike(n, self.item_ids[n], "", None, 1) for n in range(1, k + 1)]


@dataclass
class Served:
    """A running server: its recommender, its parts, and a client."""

    recommender: Any
    service: Service
    app: FastAPI
    client: httpx2.AsyncClient


@contextlib.asynccontextmanager
async def served(
    recommender: Any = None, load: Callable[[str | None], Any] | None = None, **options: Any
) -> AsyncIterator[Served]:
    """Run a server in this process."""
    made = recommender if recommender is not None else FakeRecommender()
    gate_is_open = made.gate.is_set() if isinstance(made, FakeRecommender) else True
    if not gate_is_open:
        made.gate.set()  # for the list that the service has it make at the start
    service = Service(load or (lambda name: made), replace(ServeOptions(), **options))
    if isinstance(made, FakeRecommender):
        made.entered.clear()
        made.batches.clear()
        if not gate_is_open:
            made.gate.clear()
    app = make_app(service)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with service.running(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield Served(made, service, app, client)


def listed(answer: httpx2.Response) -> list[str]:
    """Item ids of an answer with one list."""
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]
