"""Writes search queries and grades candidates for them: 2 good, 1 maybe, 0 no.

A query names some attributes of one product. Grades follow from the attributes that a candidate shares, never from its
words, so that a search for "something dramatic" finds glamorous pieces whose text says "dazzling".
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rental_world.products import Product, article
from rental_world.words import OCCASIONS

# What a query may ask for besides the garment, and how it then reads. "noun" is left out where anything will do.
_FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("{colour} {noun}", ("noun", "colour")),
    ("{noun} in {material}", ("noun", "material")),
    ("{style} {noun}", ("noun", "style")),
    ("{adjective} {noun} for {phrase}", ("noun", "style", "occasion")),
    ("{noun} for {phrase}", ("noun", "occasion")),
    ("looking for {a_noun} for {phrase}, {style} if possible", ("noun", "style", "occasion")),
    ("{colour} {material} {noun}", ("noun", "colour", "material")),
    ("what to wear: {phrase}, {style} taste", ("style", "occasion")),
    ("{season} {noun}, {adjective}", ("noun", "season", "style")),
    ("something {adjective} in {colour}", ("style", "colour")),
)
_MOST = {2: 8, 1: 6, 0: 6}


@dataclass(frozen=True)
class Query:
    """A search: its words, and (item, relevance) for each judged candidate."""

    text: str
    judged: list[tuple[int, int]]


def _match(asked: str, wanted: Product, offered: Product) -> int:
    """How well one attribute of a product meets the one that was asked for: 0, 1 or 2."""
    if asked == "noun":
        return 2 if offered.kind.noun == wanted.kind.noun else int(offered.kind.category == wanted.kind.category)
    if asked == "colour":
        return 2 if offered.colour == wanted.colour else int(offered.family == wanted.family)
    if asked == "occasion":
        return 2 if offered.occasion == wanted.occasion else int(wanted.occasion in offered.kind.occasions)
    if asked == "season":
        return 2 if offered.season == wanted.season else int(wanted.season in offered.kind.seasons)
    if asked == "style":
        return 2 if offered.style == wanted.style else 0
    return 2 if offered.material == wanted.material else 0


def grade(asked: Sequence[str], wanted: Product, offered: Product) -> int:
    """Grade a candidate: good meets all with at most one near miss; maybe has the garment and something more."""
    matches = {name: _match(name, wanted, offered) for name in asked}
    if min(matches.values()) >= 1 and sum(matches.values()) >= 2 * len(matches) - 1:
        return 2
    if "noun" not in matches:
        return int(matches["style"] == 2)
    others = [match for name, match in matches.items() if name != "noun"]
    return int(matches["noun"] >= 1 and max(others) >= 1)


def _words(rng: random.Random, form: str, wanted: Product) -> str:
    noun = wanted.kind.noun
    return form.format(
        noun=noun,
        a_noun=noun if wanted.kind.plural else article(noun),
        colour=wanted.colour,
        material=wanted.material,
        style=wanted.style.name,
        adjective=rng.choice(wanted.style.adjectives),
        season=wanted.season,
        phrase=rng.choice(OCCASIONS[wanted.occasion].phrases),
    )


def draw_query(rng: random.Random, products: Sequence[Product]) -> Query:
    """Draw one query around a product of the catalogue, with its judged candidates in random order."""
    wanted = rng.choice(products)
    form, asked = rng.choice(_FORMS)
    by_grade: dict[int, list[int]] = {2: [], 1: [], 0: []}
    for item, product in enumerate(products):
        by_grade[grade(asked, wanted, product)].append(item)
    judged: list[tuple[int, int]] = []
    for relevance, items in by_grade.items():
        picked = rng.sample(items, min(_MOST[relevance], len(items)))
        judged += [(item, relevance) for item in picked]
    rng.shuffle(judged)
    return Query(_words(rng, form, wanted), judged)


def draw_queries(rng: random.Random, products: Sequence[Product], count: int) -> list[Query]:
    """Draw queries whose words all differ."""
    found: dict[str, Query] = {}
    while len(found) < count:
        query = draw_query(rng, products)
        found.setdefault(query.text, query)
    return list(found.values())
