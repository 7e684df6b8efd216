"""Simulates the customers: tastes, reasons to rent, and what they therefore take home in which order.

A history is a chain of errands. An errand has an occasion (a wedding, a ski trip) and works through that occasion's
plan: first the dress, then the heels, then the clutch. Which dress it is depends on the customer's style, colours,
houses and budget, on the palette of the errand and on how popular the item is. So three things can be learnt from the
histories: what comes next in a plan, what suits this customer, and what everybody takes.
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

# Who the customers are: how often each of them rents for what.
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

# What life brings next: after the key, the value follows in half of the cases.
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
    """The products as arrays, so that a whole section is scored at once."""

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
    """A customer's tastes; styles and houses first-choice first."""

    occasions: dict[str, float]
    styles: list[str]
    families: list[str]
    brands: list[str]
    tier: int
    fussiness: float


def draw_popularity(rng: random.Random, count: int) -> np.ndarray:
    """A log-popularity for each item: a few stars, a long tail."""
    return np.array([rng.gauss(0.0, 0.65) for _ in range(count)])


def _draw_distinct(rng: random.Random, options: Sequence[str], weights: Sequence[float], count: int) -> list[str]:
    left, found = dict(zip(options, weights, strict=True)), []
    for _ in range(count):
        choice = rng.choices(list(left), list(left.values()))[0]
        found.append(choice)
        del left[choice]
    return found


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
    """The season in which a moment falls (northern hemisphere, by month)."""
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
    """How much each item of the shop appeals to this customer on this errand (a logit)."""
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
    season, palette, found = season_at(now), None, list[int]()
    for step in OCCASIONS[occasion].plan:
        if found and rng.random() < 0.18:
            break
        if found and rng.random() < 0.12:
            continue
        appeal = _appeal(shop, customer, occasion, season, palette)
        stray = rng.random() < 0.06
        sections = [shop.sections[category] for category in step]
        # Of two sections that would do, the one with more to like is taken more often.
        candidates = np.arange(len(shop.products)) if stray else np.concatenate(sections)
        item = _take(rng, shop.popularity if stray else appeal, candidates, taken)
        if item is None:
            continue
        taken.add(item)
        found.append(item)
        palette = palette or shop.products[item].family
    return found


def _drift(rng: random.Random, customer: Customer) -> None:
    """Tastes move slowly: now and then the second style comes first, a new house is found, the budget grows."""
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
    """One customer's rentals as (item, timestamp), in time order: 5 to `maximum` of them, short ones more often."""
    customer = draw_customer(rng)
    length = min(maximum, 5 + int(rng.expovariate(1 / 5.5)))
    now = OPENING + rng.randrange(int((YEARS - 1) * 365 * DAY))
    taken: set[int] = set()
    history: list[tuple[int, int]] = []
    occasion: str | None = None
    for _ in range(200):  # a very small shop may not hold enough for a long history
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
    """Histories of `count` customers; each has a generator of its own, so more customers change none of the first."""
    return [draw_history(random.Random(f"{seed}/customer/{number}"), shop) for number in range(count)]


def effective_items(counts: Sequence[int]) -> float:
    """Exp of the entropy of the item counts: how many equally popular items would be as spread out."""
    total = sum(counts)
    return math.exp(-sum(count / total * math.log(count / total) for count in counts if count))
