"""What the page asks, and what it is answered; see `gti_cli.serving.bodies` for the public routes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from gti_cli.serving.bodies import Request

MOST_ITEMS = 500  # items whose IDs the page asks for at once
MOST_HISTORY = 1000  # items of a history

ItemID = Annotated[str, Field(min_length=1, max_length=500)]


class ItemsRequest(Request):
    """Which items to describe."""

    item_ids: list[ItemID] = Field(max_length=MOST_ITEMS)


class WhyRequest(Request):
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
