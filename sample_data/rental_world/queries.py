"""Search queries, with graded candidates: 2 good, 1 maybe, 0 no.

A query names some attributes of one product, the one that is sought. A candidate's grade follows from the attributes
that it shares with that product, never from its words. So a search for "something dramatic" finds glamorous pieces
whose text says "dazzling".
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rental_world.products import Product, article
from rental_world.words import OCCASIONS

# Wordings of queries, with the attributes that each of them names. Without "noun" any garment will do.
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
_MOST = {2: 8, 1: 6, 0: 6}  # grade -> candidates of it, at most


@dataclass(frozen=True)
class Query:
    """A search: its words, and (item, relevance) of each judged candidate."""

    text: str
    judged: list[tuple[int, int]]


def _match(attribute: str, sought: Product, offered: Product) -> int:
    """Grade one attribute of a product: 2 as sought, 1 related, 0 different."""
    if attribute == "noun":
        return 2 if offered.kind.noun == sought.kind.noun else int(offered.kind.category == sought.kind.category)
    if attribute == "colour":
        return 2 if offered.colour == sought.colour else int(offered.family == sought.family)
    if attribute == "occasion":
        return 2 if offered.occasion == sought.occasion else int(sought.occasion in offered.kind.occasions)
    if attribute == "season":
        return 2 if offered.season == sought.season else int(sought.season in offered.kind.seasons)
    if attribute == "style":
        return 2 if offered.style == sought.style else 0
    return 2 if offered.material == sought.material else 0


def grade(attributes: Sequence[str], sought: Product, offered: Product) -> int:
    """Grade a candidate: good has all attributes, one of them at most related; maybe has the garment and one more."""
    matches = {name: _match(name, sought, offered) for name in attributes}
    if min(matches.values()) >= 1 and sum(matches.values()) >= 2 * len(matches) - 1:
        return 2
    if "noun" not in matches:
        return int(matches["style"] == 2)
    others = [match for name, match in matches.items() if name != "noun"]
    return int(matches["noun"] >= 1 and max(others) >= 1)


def _words(rng: random.Random, form: str, sought: Product) -> str:
    noun = sought.kind.noun
    return form.format(
        noun=noun,
        a_noun=noun if sought.kind.plural else article(noun),
        colour=sought.colour,
        material=sought.material,
        style=sought.style.name,
        adjective=rng.choice(sought.style.adjectives),
        season=sought.season,
        phrase=rng.choice(OCCASIONS[sought.occasion].phrases),
    )


def draw_query(rng: random.Random, products: Sequence[Product]) -> Query:
    """Draw one query around a product of the catalogue, with its judged candidates in random order."""
    sought = rng.choice(products)
    form, attributes = rng.choice(_FORMS)
    by_grade: dict[int, list[int]] = {2: [], 1: [], 0: []}
    for item, product in enumerate(products):
        by_grade[grade(attributes, sought, product)].append(item)
    judged: list[tuple[int, int]] = []
    for relevance, items in by_grade.items():
        picked = rng.sample(items, min(_MOST[relevance], len(items)))
        judged += [(item, relevance) for item in picked]
    rng.shuffle(judged)
    return Query(_words(rng, form, sought), judged)


def draw_queries(rng: random.Random, products: Sequence[Product], count: int) -> list[Query]:
    """Draw queries whose words all differ."""
    by_text: dict[str, Query] = {}
    while len(by_text) < count:
        query = draw_query(rng, products)
        by_text.setdefault(query.text, query)
    return list(by_text.values())
