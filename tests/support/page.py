"""A small shop for the page of `gti serve`: a made-up recommender, and a server in a thread."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import uvicorn
from fastapi import FastAPI

from gti_cli.errors import InputError
from gti_cli.serving.app import make_app
from gti_cli.serving.options import ServeOptions
from gti_cli.serving.service import Service

HOSTILE = "<img src=x onerror=\"document.title='run'\"> \"Gown\" & 'Co'"
SHOP = {
    "R1": ("Cobalt Denim Jacket", "<a_1><b_1><c_1>"),
    "R2": ("Olive Denim Jacket", "<a_1><b_1><c_2>"),
    "R3": ("Denim Skirt", "<a_1><b_2><c_1>"),
    "R4": ("Ivory Café Dress", "<a_2><b_1><c_1>"),
    "R5": ("", "<a_2><b_1><c_1>"),
    "R6": (HOSTILE, "<a_2><b_3><c_9>"),
    "R7/x": ("Black Boots", "<a_10><b_1><c_3>"),
    "R8": ("Black Ankle Boots", "<a_10><b_2><c_3>"),
}


class ShopRecommender:
    """Scores an item by the codes that it shares with the last item of the history.

    Attributes:
        gate: Explanations wait until it is set.
        entered: Set when an explanation has begun.
    """

    def __init__(
        self, name: str = "finetuned", is_blend: bool = False, shop: dict[str, tuple[str, str]] = SHOP
    ) -> None:
        self.name, self.is_blend, self.levels = name, is_blend, 3
        self.item_ids, self.prompt_cache = list(shop), None
        self.row_of = {item: row for row, item in enumerate(self.item_ids)}
        self.titles = {item: title for item, (title, _) in shop.items()}
        self._tokens = {item: tokens for item, (_, tokens) in shop.items()}
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()

    def tokens(self, item_id: str) -> str:
        if item_id not in self._tokens:
            raise InputError(f"items without a semantic ID: {item_id!r}", remedy="give item ids")
        return self._tokens[item_id]

    def explain(self, history: Sequence[str], *, item_id: str) -> list[Any]:
        self.entered.set()
        assert self.gate.wait(20)
        return self._levels(history, item_id)

    def _levels(self, history: Sequence[str], item_id: str) -> list[Any]:
        last, codes = (self.tokens(item).split("<")[1:] for item in (history[-1], item_id))
        return [
            SimpleNamespace(token=f"<{code}", code=0, log_probability=math.log(0.8 if code == other else 0.1))
            for code, other in zip(codes, last, strict=True)
        ]

    def recommend(self, histories: Sequence[Sequence[str]], *, k: int = 10, **settings: Any) -> list[Any]:
        return [
            self._list(
                history,
                k,
                {*exclude, *(history if is_hidden else ()), *(set(self.item_ids) - set(only or self.item_ids))},
            )
            for history, exclude, only, is_hidden in zip(
                histories,
                settings["exclude"],
                settings["only"] or [None] * len(histories),
                settings["filter_seen"],
                strict=True,
            )
        ]

    def _list(self, history: Sequence[str], k: int, hidden: set[str]) -> Any:
        scores = {
            item: sum(level.log_probability for level in self._levels(history, item))
            for item in self.item_ids
            if item not in hidden
        }
        best = sorted(scores, key=lambda item: -scores[item])[:k]
        items = [
            SimpleNamespace(rank=rank, item_id=item, title=self.titles[item], score=scores[item])
            for rank, item in enumerate(best, 1)
        ]
        return SimpleNamespace(items=items, proven=True, cut=0)

    def similar(self, item_id: str, k: int = 10) -> list[Any]:
        others = [item for item in self.item_ids if item != item_id][:k]
        return [
            SimpleNamespace(rank=rank, item_id=item, title=self.titles[item], similarity=0.5, shared_levels=0)
            for rank, item in enumerate(others, 1)
        ]


def shop_app(recommender: Any = None, **options: Any) -> FastAPI:
    recommender = recommender or ShopRecommender()
    return make_app(Service(lambda name: recommender, ServeOptions(**options)))


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Run a server in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
