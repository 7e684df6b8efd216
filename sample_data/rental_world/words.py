"""The vocabulary of the invented shop, read from the hand-written tables in `lists/`.

The tables give the sample data its structure: the garments, their materials, the styles of each house, the plan of each
occasion. The other modules only draw from them. They are plain text with one row a line, so that they are easy to read
and to correct.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SEASONS = ("spring", "summer", "autumn", "winter")


@dataclass(frozen=True)
class Kind:
    """A kind of garment: its noun and category, possible materials, cuts, occasions and seasons, and its frequency."""

    noun: str
    category: str
    line: str
    group: str
    materials: tuple[str, ...]
    cuts: tuple[str, ...]
    occasions: tuple[str, ...]
    seasons: tuple[str, ...]
    weight: float

    @property
    def plural(self) -> bool:
        """Whether the noun is grammatically plural (trousers, heels) and takes no article."""
        return self.noun.endswith("s") and not self.noun.endswith("ss")


@dataclass(frozen=True)
class Style:
    """A taste: the colour families, patterns, materials and adjectives that go with it."""

    name: str
    families: tuple[str, ...]
    patterns: tuple[str, ...]
    materials: tuple[str, ...]
    adjectives: tuple[str, ...]


@dataclass(frozen=True)
class Brand:
    """An invented house: price tier from 1 (cheap) to 4 (expensive), styles (main one first), lines of garments."""

    name: str
    tier: int
    styles: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Occasion:
    """A reason to rent: phrases for it, seasons, styles, and the plan (the categories that are rented, in order)."""

    name: str
    phrases: tuple[str, ...]
    seasons: tuple[str, ...]
    styles: tuple[str, ...]
    plan: tuple[tuple[str, ...], ...]


def _cells(row: str, separator: str = "|") -> list[str]:
    return [cell.strip() for cell in row.split(separator)]


def _rows(table: str) -> list[str]:
    text = (Path(__file__).parent / "lists" / f"{table}.txt").read_text(encoding="utf-8")
    return [row.strip() for row in text.splitlines() if row.strip() and not row.startswith(";")]


def _words(cell: str) -> tuple[str, ...]:
    return tuple(_cells(cell, ","))


# Categories that come in few colour families, whatever the style.
CATEGORY_FAMILIES: dict[str, tuple[str, ...]] = {
    "Dresses > Bridal": ("white", "pink", "metallic"),
    "Accessories > Bridal": ("white", "metallic"),
    "Trousers > Jeans": ("blue", "black", "white", "grey"),
    "Maternity > Bottoms": ("blue", "black", "grey"),
    "Bags > Beach": ("beige", "brown", "white", "orange", "yellow"),
}
PRICE_NOTES: dict[int, tuple[str, ...]] = {
    1: ("A low-cost rental that asks for no second thought.", "One of the cheapest pieces in its section."),
    2: ("A fair price for a piece that earns its keep.", "Mid-priced and good value by the week."),
    3: ("A premium piece, worth the extra on the day.", "Not cheap, and it shows in the finish."),
    4: ("A luxury rental, insured and sent in its own box.", "A showpiece from the top of the price list."),
}
PRICE_WORDS: dict[int, tuple[str, ...]] = {
    1: ("cheap", "low-cost"),
    2: ("mid-priced", "fair-priced"),
    3: ("premium", "costly"),
    4: ("luxury", "expensive"),
}
LINE_NAMES = {
    "evening": "evening wear", "occasion": "occasion wear", "bridal": "bridal wear", "casual": "everyday clothes",
    "beach": "beachwear", "tailoring": "tailoring", "outer": "coats and jackets", "shoes": "shoes", "bags": "bags",
    "accessories": "accessories", "snow": "skiwear", "sport": "activewear", "maternity": "maternity wear",
}  # fmt: skip
FIT_NOTES = (
    "Runs small, so take one size up.", "True to size.", "Cut generously; size down for a closer fit.",
    "Best on taller frames.", "Kind to every shape.", "Dry-cleaned before each rental.", "Comes with a spare button.",
    "Easy to pack and slow to crease.",
)  # fmt: skip


def _parse_kinds() -> tuple[Kind, ...]:
    kinds: list[Kind] = []
    category = line = group = ""
    for row in _rows("kinds"):
        if row.startswith("#"):
            category, line, group = _cells(row[1:])
            continue
        noun, materials, cuts, occasions, seasons, weight = _cells(row)
        when = SEASONS if seasons == "all" else _words(seasons)
        kinds.append(
            Kind(noun, category, line, group, _words(materials), _words(cuts), _words(occasions), when, float(weight))
        )
    return tuple(kinds)


def _parse_styles() -> dict[str, Style]:
    rows = [_cells(row) for row in _rows("styles")]
    return {name: Style(name, *(_words(cell) for cell in cells)) for name, *cells in rows}


def _parse_brands() -> dict[str, Brand]:
    rows = [_cells(row) for row in _rows("brands")]
    return {name: Brand(name, int(tier), _words(styles), _words(lines)) for name, tier, styles, lines in rows}


def _parse_occasions() -> dict[str, Occasion]:
    occasions: dict[str, Occasion] = {}
    for row in _rows("occasions"):
        name, phrases, seasons, styles, plan = _cells(row)
        steps = tuple(tuple(_cells(step, "/")) for step in _cells(plan, ";"))
        when = SEASONS if seasons == "all" else _words(seasons)
        occasions[name] = Occasion(name, _words(phrases), when, _words(styles), steps)
    return occasions


def _parse_lists(table: str, separator: str = ",") -> dict[str, tuple[str, ...]]:
    rows = [_cells(row, "=") for row in _rows(table)]
    return {key: tuple(_cells(values, separator)) for key, values in rows}


def _parse_prose() -> dict[str, list[str]]:
    sentences: dict[str, list[str]] = {}
    for row in _rows("prose"):
        topic, sentence = row.split(" | ", 1)
        sentences.setdefault(topic, []).append(sentence)
    return sentences


KINDS = _parse_kinds()
STYLES = _parse_styles()
BRANDS = _parse_brands()
OCCASIONS = _parse_occasions()
COLOURS = _parse_lists("colours")
FAMILY_OF = {colour: family for family, colours in COLOURS.items() for colour in colours}
FEEL = {material: feels[0] for material, feels in _parse_lists("materials", ";").items()}
DETAILS = _parse_lists("details", ";")
PATTERNS = _parse_lists("patterns")
PROSE = _parse_prose()
MODEL_NAMES = tuple(_rows("names"))
CATEGORIES = tuple(dict.fromkeys(kind.category for kind in KINDS))
