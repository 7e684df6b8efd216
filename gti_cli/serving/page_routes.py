"""The page at ``/`` and what it asks the server beyond the public routes.

The page is one static file, ``page/index.html``. Its Content-Security-Policy lets it run its own script and style, which
are named by their digests, and lets it talk to this server; nothing else, from nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import weakref
from collections.abc import Callable
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from gti_cli.checkpoints.token_names import split_tokens
from gti_cli.geometry.sampling import evenly
from gti_cli.serving.code_tree import CodeTree
from gti_cli.serving.title_search import TitleIndex

if TYPE_CHECKING:
    from gti_cli.recommender.recommender import Recommender
    from gti_cli.recommender.results import LevelScore

MOST_FOUND = 20  # titles that a search returns
MOST_BRANCHES = 50  # branches of the tree in one answer
MOST_ITEMS = 500  # items whose IDs the page asks for at once
MOST_HISTORY = 1000  # items of a history
EXAMPLES = 3  # example items of a branch
FIRST_CHOICES = 6  # items that the page offers to somebody who does not know the catalogue
_PATIENCE = 2.0  # seconds that a question "why" waits for the one before it

ItemID = Annotated[str, Field(min_length=1, max_length=500)]


class Strict(BaseModel):
    """A request: a field that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


class ItemsRequest(Strict):
    """Which items to describe."""

    item_ids: list[ItemID] = Field(max_length=MOST_ITEMS)


class WhyRequest(Strict):
    """A history and an item whose score is to be explained."""

    history: list[ItemID] = Field(min_length=1, max_length=MOST_HISTORY)
    item_id: ItemID


class PageItem(BaseModel):
    """An item as the page shows it; ``codes`` are those of its Semantic ID."""

    item_id: str
    title: str
    codes: list[str]


class About(BaseModel):
    """What is loaded: ``levels`` has the number of codes in use at each level."""

    name: str
    is_blend: bool
    items: int
    levels: list[int]
    examples: list[PageItem]


class Items(BaseModel):
    """Items; ``total`` counts those that were left out for length, too."""

    total: int
    items: list[PageItem]


class Level(BaseModel):
    """What one code adds to an item's score: its log-probability behind the codes before it, in nats."""

    code: str
    log_probability: float


class Shared(PageItem):
    """An item of the history, and for each of its codes whether the explained item has the same one at this level."""

    same: list[bool]


class Why(BaseModel):
    """The parts of an item's score (none for a blend), and what its ID shares with each item of the history."""

    levels: list[Level]
    history: list[Shared]


class TreeBranch(BaseModel):
    """Items that share first codes, the last of which is ``code``."""

    code: str
    items: int
    examples: list[PageItem]


class Tree(BaseModel):
    """What lies behind first codes: branches one level down, or the items of a whole Semantic ID."""

    prefix: list[str]
    items: int
    branches: int
    shown: list[TreeBranch]
    found: list[PageItem]


class PageData:
    """What the page needs of a recommender, made when it is first asked for.

    Args:
        recommender: The loaded recommender. Only its tables are kept, so that a later one can take its place in memory.
    """

    def __init__(self, recommender: Recommender) -> None:
        self.name, self.is_blend = recommender.name, recommender.is_blend
        self.item_ids = list(recommender.item_ids)
        # An item without a title is called by its id.
        self.titles = [recommender.titles.get(item) or item for item in self.item_ids]
        self._semantic_ids = [recommender.tokens(item) for item in self.item_ids]
        self._place = {item: place for place, item in enumerate(self.item_ids)}

    @cached_property
    def tree(self) -> CodeTree:
        """The tree of codes."""
        return CodeTree(self._semantic_ids)

    @cached_property
    def index(self) -> TitleIndex:
        """The words of the titles."""
        return TitleIndex(self.item_ids, self.titles)

    def describe(self, places: list[int]) -> list[PageItem]:
        """Describe the items at some places of the catalogue."""
        return [
            PageItem(
                item_id=self.item_ids[place],
                title=self.titles[place],
                codes=split_tokens(self._semantic_ids[place]),
            )
            for place in places
        ]

    def known(self, item_ids: list[str]) -> list[PageItem]:
        """Describe items, without those that the catalogue does not have."""
        return self.describe([self._place[item] for item in item_ids if item in self._place])


def read_page() -> tuple[str, dict[str, str]]:
    """Return the page and the headers that it is sent with."""
    page = (files("gti_cli.serving") / "page" / "index.html").read_text("utf-8")
    styles, scripts = (
        " ".join(f"'sha256-{_digest(part)}'" for part in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL))
        for tag in ("style", "script")
    )
    policy = (
        f"default-src 'none'; style-src {styles}; script-src {scripts}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def add_page_routes(app: FastAPI, current: Callable[[], Recommender]) -> None:
    """Add the page and its routes to an application.

    Args:
        app: The application.
        current: Returns the recommender that answers now; it may be another one after a reload.
    """
    kept: weakref.WeakKeyDictionary[Any, PageData] = weakref.WeakKeyDictionary()
    opening, explaining = threading.Lock(), threading.Lock()

    def data() -> PageData:
        recommender = current()
        with opening:
            if recommender not in kept:
                kept[recommender] = PageData(recommender)
            return kept[recommender]

    def explain_alone(recommender: Recommender, request: WhyRequest) -> list[LevelScore]:
        # Each explanation runs the model, outside the queue of recommendations. One at a time leaves them the processor.
        if not explaining.acquire(timeout=_PATIENCE):
            raise HTTPException(503, "Other items are being explained.", headers={"Retry-After": "1"})
        try:
            return recommender.explain(history=request.history, item_id=request.item_id)
        finally:
            explaining.release()

    page, headers = read_page()

    @app.get("/", include_in_schema=False)
    def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)

    @app.get("/page/about", tags=["page"])
    def about() -> About:
        """Say what is loaded, and name a few items to begin with."""
        here = data()
        examples = here.describe(evenly(len(here.item_ids), FIRST_CHOICES).tolist()) if here.item_ids else []
        return About(
            name=here.name,
            is_blend=here.is_blend,
            items=len(here.item_ids),
            levels=here.tree.sizes,
            examples=examples,
        )

    @app.post("/page/items", tags=["page"])
    def describe_items(request: ItemsRequest) -> Items:
        """Give titles and Semantic IDs of items. Items that the catalogue does not have are left out."""
        found = data().known(request.item_ids)
        return Items(total=len(found), items=found)

    @app.get("/page/find", tags=["page"])
    def find_items(q: Annotated[str, Query(max_length=200)]) -> Items:
        """Find items whose titles have words that begin with those of the query."""
        here = data()
        places = here.index.find(q)
        return Items(total=len(places), items=here.describe(places[:MOST_FOUND]))

    @app.post("/page/why", tags=["page"])
    def explain_item(request: WhyRequest) -> Why:
        """Give the log-probability of each code of an item behind a history, and the codes that both share."""
        recommender, here = current(), data()
        codes = split_tokens(recommender.tokens(request.item_id))
        levels = [] if recommender.is_blend else explain_alone(recommender, request)
        return Why(
            levels=[Level(code=level.token, log_probability=level.log_probability) for level in levels],
            history=[
                Shared(**item.model_dump(), same=[a == b for a, b in zip(item.codes, codes, strict=True)])
                for item in here.known(request.history)
            ],
        )

    @app.get("/page/tree", tags=["page"])
    def show_tree(
        prefix: Annotated[str, Query(max_length=1000)] = "", start: Annotated[int, Query(ge=0, le=10**9)] = 0
    ) -> Tree:
        """List the branches behind some first codes, the largest first, with counts and examples."""
        here = data()
        found = here.tree.behind(prefix, start, MOST_BRANCHES, EXAMPLES)
        return Tree(
            prefix=found.codes,
            items=found.items,
            branches=found.branches,
            shown=[
                TreeBranch(code=branch.code, items=branch.items, examples=here.describe(branch.examples))
                for branch in found.shown
            ],
            found=here.describe(found.rows),
        )
