"""Simulated customers: their tastes, their reasons to rent, and the resulting histories of rentals.

A history is a chain of errands. An errand has an occasion (a wedding, a ski trip) and works through that occasion's
plan: first the dress, then the heels, then the clutch. The choice of the dress depends on the customer's style,
colours, houses and budget, on the palette of the errand and on the popularity of the item. So three things can be
learned from the histories: the order of a plan, a customer's taste, and popularity.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rental_world.products import Product
from rental_world.words import BRANDS, CATEGORIES, COLOURS, OCCASIONS, SEASONS, STYLES

DAY = 86_400
OPENING = 1_609_459_200  # 2021-01-01 00:00 UTC, when the shop opened
YEARS = 3

# Kinds of customers: weight of each occasion for which they rent.
PERSONAS: dict[str, dict[str, float]] = {
    "office worker": {"office": 5, "job interview": 1, "date night": 1.5, "city weekend": 1.5, "cocktail party": 1},
    "socialite": {"black tie": 3, "cocktail party": 4, "date night": 2.5, "wedding guest": 2},
    "wedding season": {"wedding guest": 5, "garden party": 2.5, "cocktail party": 1, "beach holiday": 1},
    "bride": {"bridal": 4, "wedding guest": 1, "beach holiday": 1.5, "city weekend": 1},
    "outdoors": {"ski trip": 3, "country walk": 4, "training": 2, "city weekend": 1},
    "student": {"festival": 3, "date night": 2.5, "city weekend": 3, "job interview": 1},
    "mother": {"maternity": 5, "garden party": 2, "city weekend": 1.5, "training": 1},
    "traveller": {"beach holiday": 4, "city weekend": 2, "ski trip": 1.5, "festival": 1},
}

# Occasions that follow one another: after the key comes the value in half of the cases.
NEXT_OCCASION = {
    "bridal": "beach holiday",
    "job interview": "office",
    "black tie": "cocktail party",
    "ski trip": "country walk",
    "maternity": "garden party",
    "wedding guest": "garden party",
    "festival": "beach holiday",
    "office": "city weekend",
}


@dataclass
class Catalogue:
    """The products as arrays, so that a whole section of the shop is scored at once.

    Attributes:
        products: All products.
        popularity: (items,) log-popularity.
        sections: Category -> its items.
        tier: (items,) price tier of the item's house.
        codes: Attribute -> (items,) its values.
        serves: Occasion -> (items,) bool, whether the garment suits it.
    """

    products: Sequence[Product]
    popularity: np.ndarray
    sections: dict[str, np.ndarray] = field(init=False)
    tier: np.ndarray = field(init=False)
    codes: dict[str, np.ndarray] = field(init=False)
    serves: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        """Index the products by section and by attribute."""
        categories = np.array([product.kind.category for product in self.products])
        self.sections = {name: np.flatnonzero(categories == name) for name in CATEGORIES}
        self.tier = np.array([product.brand.tier for product in self.products])
        values = {
            "style": [product.style.name for product in self.products],
            "family": [product.family for product in self.products],
            "brand": [product.brand.name for product in self.products],
            "occasion": [product.occasion for product in self.products],
            "season": [product.season for product in self.products],
        }
        self.codes = {name: np.array(column) for name, column in values.items()}
        self.serves = {
            name: np.array([name in product.kind.occasions for product in self.products]) for name in OCCASIONS
        }


@dataclass
class Customer:
    """A customer's tastes; styles and houses in the order of preference."""

    occasions: dict[str, float]
    styles: list[str]
    families: list[str]
    brands: list[str]
    tier: int
    fussiness: float


def draw_popularity(rng: random.Random, count: int) -> np.ndarray:
    """Draw a log-popularity for each item: a few very popular ones, and a long tail."""
    return np.array([rng.gauss(0.0, 0.65) for _ in range(count)])


def _draw_distinct(rng: random.Random, options: Sequence[str], weights: Sequence[float], count: int) -> list[str]:
    left, drawn = dict(zip(options, weights, strict=True)), []
    for _ in range(count):
        choice = rng.choices(list(left), list(left.values()))[0]
        drawn.append(choice)
        del left[choice]
    return drawn


def draw_customer(rng: random.Random) -> Customer:
    """Draw one customer: persona first, then a style that suits it, then colours, budget and houses from the style."""
    persona = PERSONAS[rng.choice(list(PERSONAS))]
    occasions = {name: weight * rng.gammavariate(1.5, 1.0) for name, weight in persona.items()}
    suits = [0.4 + sum(w for name, w in persona.items() if style in OCCASIONS[name].styles) / 5 for style in STYLES]
    styles = _draw_distinct(rng, list(STYLES), suits, 2)
    liked = [6.0 if family in STYLES[styles[0]].families else 1.0 for family in COLOURS]
    tier = rng.choices((1, 2, 3, 4), (0.3, 0.35, 0.22, 0.13))[0]
    fits = [
        (6.0 if styles[0] in brand.styles else 1.5 if styles[1] in brand.styles else 0.2)
        * 0.3 ** abs(brand.tier - tier)
        for brand in BRANDS.values()
    ]
    return Customer(
        occasions=occasions,
        styles=styles,
        families=_draw_distinct(rng, list(COLOURS), liked, 2),
        brands=_draw_distinct(rng, list(BRANDS), fits, 3),
        tier=tier,
        fussiness=rng.uniform(0.85, 1.35),
    )


def season_at(timestamp: int) -> str:
    """Return the season of a moment (northern hemisphere, by month)."""
    month = int((timestamp - OPENING) % (365.25 * DAY) // (30.44 * DAY))
    return SEASONS[((month + 10) % 12) // 3]


def _next_occasion(rng: random.Random, customer: Customer, last: str | None, season: str) -> str:
    follow = NEXT_OCCASION.get(last or "")
    if follow is not None and season in OCCASIONS[follow].seasons and rng.random() < 0.5:
        return follow
    names = list(customer.occasions)
    weights = [w * (1.0 if season in OCCASIONS[n].seasons else 0.15) for n, w in customer.occasions.items()]
    return rng.choices(names, weights)[0]


def _appeal(shop: Catalogue, customer: Customer, occasion: str, season: str, palette: str | None) -> np.ndarray:
    """Compute the appeal (items,) of each item to this customer on this errand, as logits."""
    codes = shop.codes
    score = 2.8 * (codes["style"] == customer.styles[0]) + 1.2 * (codes["style"] == customer.styles[1])
    score += 1.3 * np.isin(codes["family"], customer.families) + 1.3 * np.isin(codes["brand"], customer.brands)
    # Sun hats and beanies share a section, but no beach holiday asks for a beanie.
    score += 1.0 * (codes["occasion"] == occasion) + 3.0 * shop.serves[occasion] + 0.5 * (codes["season"] == season)
    score -= 0.8 * np.abs(shop.tier - customer.tier)
    if palette is not None:
        score += 0.9 * (codes["family"] == palette) + 0.4 * (codes["family"] == "metallic")
    result: np.ndarray = customer.fussiness * score + shop.popularity
    return result


def _take(rng: random.Random, logits: np.ndarray, candidates: np.ndarray, taken: set[int]) -> int | None:
    left = np.array([item for item in candidates if item not in taken], dtype=int)
    if not len(left):
        return None
    weights = np.exp(logits[left] - logits[left].max())
    return int(rng.choices(left.tolist(), weights.tolist())[0])


def _errand(
    rng: random.Random, shop: Catalogue, customer: Customer, occasion: str, now: int, taken: set[int]
) -> list[int]:
    """Work through an occasion's plan; a customer may skip a step, stop early, or stray to something different."""
    season, palette, rented = season_at(now), None, list[int]()
    for step in OCCASIONS[occasion].plan:
        if rented and rng.random() < 0.18:
            break
        if rented and rng.random() < 0.12:
            continue
        appeal = _appeal(shop, customer, occasion, season, palette)
        stray = rng.random() < 0.06
        sections = [shop.sections[category] for category in step]
        # Where a step allows two sections, their items compete with one another.
        candidates = np.arange(len(shop.products)) if stray else np.concatenate(sections)
        item = _take(rng, shop.popularity if stray else appeal, candidates, taken)
        if item is None:
            continue
        taken.add(item)
        rented.append(item)
        palette = palette or shop.products[item].family
    return rented


def _drift(rng: random.Random, customer: Customer) -> None:
    """Change tastes a little: now and then the second style comes first, a house is replaced, or the budget grows."""
    if rng.random() < 0.10:
        fresh = rng.choice([style for style in STYLES if style not in customer.styles])
        customer.styles = [customer.styles[1], fresh]
        customer.families[1] = rng.choice(STYLES[customer.styles[0]].families)
    if rng.random() < 0.10:
        customer.brands[rng.randrange(3)] = rng.choice(
            [b.name for b in BRANDS.values() if customer.styles[0] in b.styles]
        )
    if rng.random() < 0.05:
        customer.tier = min(4, customer.tier + 1)


def draw_history(rng: random.Random, shop: Catalogue, maximum: int = 25) -> list[tuple[int, int]]:
    """Draw one customer's rentals as (item, timestamp) in time order: 5 to ``maximum``, more often few than many."""
    customer = draw_customer(rng)
    length = min(maximum, 5 + int(rng.expovariate(1 / 5.5)))
    now = OPENING + rng.randrange(int((YEARS - 1) * 365 * DAY))
    taken: set[int] = set()
    history: list[tuple[int, int]] = []
    occasion: str | None = None
    for _ in range(200):  # a limit, since a very small shop may lack the items for a long history
        if len(history) >= length:
            break
        occasion = _next_occasion(rng, customer, occasion, season_at(now))
        for item in _errand(rng, shop, customer, occasion, now, taken):
            now += int(rng.expovariate(1 / (0.6 * DAY))) + rng.randrange(60, 3600)
            history.append((item, now))
        _drift(rng, customer)
        now += int(rng.expovariate(1 / (24 * DAY))) + DAY
    return history[:length]


def draw_histories(seed: str, shop: Catalogue, count: int) -> list[list[tuple[int, int]]]:
    """Draw histories of ``count`` customers; each has its own generator, so more customers do not change the first."""
    return [draw_history(random.Random(f"{seed}/customer/{number}"), shop) for number in range(count)]


def effective_items(counts: Sequence[int]) -> float:
    """Return the number of equally popular items with the same entropy: exp of the entropy of the item counts."""
    total = sum(counts)
    return math.exp(-sum(count / total * math.log(count / total) for count in counts if count))
