"""Plain texts about the shop's world, on which the small LM is pretrained: product cards, and paragraphs on topics.

The sentences stand in `lists/prose.txt`, with slots. All slots of a paragraph are drawn together, so that its style,
colours, houses and occasions agree.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rental_world.products import Product, article
from rental_world.words import (
    BRANDS,
    COLOURS,
    FAMILY_OF,
    FEEL,
    KINDS,
    LINE_NAMES,
    MODEL_NAMES,
    OCCASIONS,
    PRICE_WORDS,
    PROSE,
    SEASONS,
    STYLES,
    Kind,
    Occasion,
    Style,
)

Slots = dict[str, str]


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun, unless it is plural."""
    return noun if noun.endswith("s") and not noun.endswith("ss") else article(noun)


def plan_garments(rng: random.Random, occasion: Occasion) -> list[Kind]:
    """Draw one kind of garment for each step of an occasion's plan."""
    garments = []
    for step in occasion.plan:
        category = rng.choice(step)
        serving = [kind for kind in KINDS if kind.category == category and occasion.name in kind.occasions]
        garments.append(rng.choice(serving or [kind for kind in KINDS if kind.category == category]))
    return garments


def _style_slots(rng: random.Random, style: Style) -> Slots:
    other = rng.choice([name for name in STYLES if name != style.name])
    adjective, adjective_2 = rng.sample(style.adjectives, 2)
    colour = rng.choice(COLOURS[rng.choice(style.families)])
    family = FAMILY_OF[colour]
    strangers = [name for name, colours in FAMILY_OF.items() if colours not in style.families]
    return {
        "style": style.name,
        "a_style": article(style.name),
        "other_style": other,
        "adjective": adjective,
        "adjective_2": adjective_2,
        "stranger_adjective": rng.choice(STYLES[other].adjectives),
        "colour": colour,
        "family": family,
        "sibling": rng.choice([name for name in COLOURS[family] if name != colour]),
        "other_colour": rng.choice(COLOURS[rng.choice(style.families)]),
        "stranger_colour": rng.choice(strangers),
        "pattern": rng.choice(style.patterns),
    }


def _occasion_slots(rng: random.Random, occasion: Occasion) -> Slots:
    garments = plan_garments(rng, occasion)
    first, second, third = (garments[step] for step in sorted(rng.sample(range(len(garments)), 3)))
    season = rng.choice(occasion.seasons)
    off_season = [kind.noun for kind in KINDS if season not in kind.seasons] or ["raincoat"]
    noun = rng.choice([kind for kind in KINDS if occasion.name in kind.occasions])
    plurals = [kind.noun if kind.plural else f"{kind.noun}{'es' if kind.noun[-1] in 'sxh' else 's'}" for kind in KINDS]
    return {
        "phrase": rng.choice(occasion.phrases),
        "next_phrase": rng.choice(OCCASIONS[rng.choice(list(OCCASIONS))].phrases),
        "season": season,
        "next_season": SEASONS[(SEASONS.index(season) + 1) % 4],
        "out_of_season": with_article(rng.choice(off_season)),
        "first": with_article(first.noun),
        "a_first": with_article(first.noun),
        "second": with_article(second.noun),
        "third": with_article(third.noun),
        "noun": noun.noun,
        "a_noun": with_article(noun.noun),
        "nouns": plurals[KINDS.index(noun)],
        "category": noun.category,
    }


def draw_slots(rng: random.Random) -> Slots:
    """Draw an occasion, a style that suits it, and the other slots to match; capital keys hold capitalised values."""
    occasion = rng.choice(list(OCCASIONS.values()))
    style = STYLES[rng.choice(occasion.styles)]
    houses = [brand for brand in BRANDS.values() if style.name in brand.styles]
    house, house_2 = rng.sample(houses, 2)
    name, name_2 = rng.sample(MODEL_NAMES, 2)
    material = rng.choice(style.materials)
    slots = {
        **_style_slots(rng, style),
        **_occasion_slots(rng, occasion),
        "material": material,
        "feel": FEEL[material],
        "house": house.name,
        "house_2": house_2.name,
        "style_2": next(other for other in house.styles if other != style.name),
        "line": LINE_NAMES[rng.choice(house.lines)],
        "price": article(rng.choice(PRICE_WORDS[house.tier])),
        "price_word": rng.choice(PRICE_WORDS[house.tier]),
        "name": name,
        "name_2": name_2,
    }
    return slots | {key.capitalize(): value[0].upper() + value[1:] for key, value in slots.items()}


def write_paragraph(rng: random.Random) -> str:
    """Write two to five sentences on one topic."""
    sentences = PROSE[rng.choice(list(PROSE))]
    slots = draw_slots(rng)
    return " ".join(sentence.format(**slots) for sentence in rng.sample(sentences, rng.randint(2, 5)))


def write_card(rng: random.Random, product: Product) -> str:
    """Write a product as a catalogue shows it, in one of several layouts."""
    title, text, brand, category = product.title, product.description, product.brand.name, product.kind.category
    return rng.choice(
        (
            f"{title}. {text}",
            f"{title}\n{text}\nBrand: {brand}\nCategory: {category}",
            f"Title: {title}\nDescription: {text}",
            f"{title} by {brand}. {text}",
            f"{category}: {title}. {text}",
            f"{title} ({brand}, {category})",
            f"Product: {title}\nBrand: {brand}\nStyle: {product.style.name}\nColour: {product.colour}\n"
            f"Material: {product.material}\nOccasion: {product.occasion}\nSeason: {product.season}",
        )
    )


def write_rail(rng: random.Random, products: Sequence[Product]) -> str:
    """Write a short list of products, as on a rail of the shop."""
    slots = draw_slots(rng)
    heading = rng.choice(("On the rail today:", "New this week:", f"Seen in {slots['season']}:", "From the catalogue:"))
    return "\n".join([heading, *(f"- {product.title}" for product in products)])
