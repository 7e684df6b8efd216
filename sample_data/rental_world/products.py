"""Products drawn from the shop's grammar, with their titles and descriptions.

The garment is drawn first, then a house that makes such garments, then the house's style, and from the style the
material, colour and pattern. So the words of a text depend on one another, as they do in a real shop, and a reader of
the text can tell the style, the occasion and the season.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rental_world.words import (
    BRANDS,
    CATEGORY_FAMILIES,
    COLOURS,
    DETAILS,
    FAMILY_OF,
    FEEL,
    FIT_NOTES,
    KINDS,
    MODEL_NAMES,
    OCCASIONS,
    PATTERNS,
    PRICE_NOTES,
    STYLES,
    Brand,
    Kind,
    Style,
)


@dataclass(frozen=True)
class Product:
    """One product: its attributes, and the texts that describe them."""

    kind: Kind
    brand: Brand
    style: Style
    material: str
    colour: str
    pattern: str
    cut: str
    occasion: str
    season: str
    details: tuple[str, str, str]
    title: str = ""
    description: str = ""

    @property
    def family(self) -> str:
        """Colour family (navy and teal are both blue)."""
        return FAMILY_OF[self.colour]

    @property
    def cloth(self) -> str:
        """Pattern, colour and material in lower case, as a sentence uses them."""
        pattern = "" if self.pattern == "plain" else f"{self.pattern} "
        # "denim jeans" and "leather trousers" say the material in the noun already.
        material = "" if self.material.split()[-1] in self.kind.noun else self.material
        return f"{pattern}{self.colour} {material}".strip()


def _weighted(rng: random.Random, options: Sequence[str], favourites: Sequence[str], factor: float) -> str:
    return rng.choices(options, [factor if option in favourites else 1.0 for option in options])[0]


def _draw_brand(rng: random.Random, kind: Kind) -> Brand:
    makers = [brand for brand in BRANDS.values() if kind.line in brand.lines]
    # The first line that a house names is its main business.
    return rng.choices(makers, [3.0 if brand.lines[0] == kind.line else 1.5 for brand in makers])[0]


def _draw_style(rng: random.Random, brand: Brand, kind: Kind) -> Style:
    if rng.random() < 0.88:
        return STYLES[rng.choices(brand.styles, [0.7, 0.3])[0]]
    fitting = [style for occasion in kind.occasions for style in OCCASIONS[occasion].styles]
    return STYLES[rng.choice(fitting)]


def _draw_pattern(rng: random.Random, kind: Kind, style: Style, material: str) -> str:
    wearable = [
        pattern for pattern in style.patterns if pattern in PATTERNS[kind.group] and pattern != f"{material}-effect"
    ]
    if not wearable or rng.random() < 0.5:
        return "plain"
    return rng.choice(wearable)


def _draw_colour(rng: random.Random, kind: Kind, style: Style) -> str:
    families = CATEGORY_FAMILIES.get(kind.category, tuple(COLOURS))
    family = _weighted(rng, families, style.families, 12.0)
    return rng.choice(COLOURS[family])


def draw_product(rng: random.Random) -> Product:
    """Draw one product with its texts; the same generator state gives the same product."""
    kind = rng.choices(KINDS, [kind.weight for kind in KINDS])[0]
    brand = _draw_brand(rng, kind)
    style = _draw_style(rng, brand, kind)
    fitting = [name for name in kind.occasions if style.name in OCCASIONS[name].styles]
    occasion = _weighted(rng, kind.occasions, fitting, 4.0)
    seasons = [season for season in kind.seasons if season in OCCASIONS[occasion].seasons] or list(kind.seasons)
    material = _weighted(rng, kind.materials, style.materials, 5.0)
    first, second, third = rng.sample(DETAILS[kind.group], 3)
    bare = Product(
        kind=kind,
        brand=brand,
        style=style,
        material=material,
        colour=_draw_colour(rng, kind, style),
        pattern=_draw_pattern(rng, kind, style, material),
        cut=rng.choice(kind.cuts),
        occasion=occasion,
        season=rng.choice(seasons),
        details=(first, second, third),
    )
    return _written(rng, bare)


def draw_catalogue(rng: random.Random, count: int) -> list[Product]:
    """Draw `count` products whose titles all differ."""
    products: dict[str, Product] = {}
    while len(products) < count:
        product = draw_product(rng)
        products.setdefault(product.title, product)
    return list(products.values())


def _written(rng: random.Random, bare: Product) -> Product:
    """Add title and description to a product."""
    return Product(**{**bare.__dict__, "title": write_title(rng, bare), "description": write_description(rng, bare)})


def title_case(text: str) -> str:
    """Capitalise words as in a shop's titles; small words stay in lower case."""
    words = [word.title() if word not in {"in", "with", "and", "the"} else word for word in text.split(" ")]
    return " ".join(words)


def write_title(rng: random.Random, product: Product) -> str:
    """Write a title in one of the shop's forms: by colour, by cut, or with a model name."""
    noun, name = product.kind.noun, rng.choice(MODEL_NAMES)
    form = rng.choices(
        (
            f"{product.cloth} {product.cut} {noun}",
            f"{name} {product.cut} {noun} in {product.cloth}",
            f"{product.cut} {noun} in {product.cloth}",
            f"{name} {product.cloth} {noun}",
        ),
        (0.45, 0.25, 0.15, 0.15),
    )[0]
    return title_case(form)


def article(phrase: str) -> str:
    """Put the indefinite article before a phrase."""
    sounds_like_vowel = phrase[0].lower() in "aeiou" and not phrase.startswith(("one-", "utility"))
    return f"{'an' if sounds_like_vowel or phrase.startswith('honest') else 'a'} {phrase}"


def _noun_phrase(product: Product, words: str) -> str:
    phrase = f"{words} {product.kind.noun}"
    return phrase if product.kind.plural else article(phrase)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _opening(rng: random.Random, product: Product) -> str:
    adjective = rng.choice(product.style.adjectives)
    feel, brand = FEEL[product.material], product.brand.name
    forms = (
        f"{_noun_phrase(product, adjective + ', ' + product.cut)} in {product.cloth}, with {product.details[0]}.",
        f"{_noun_phrase(product, adjective)} from {brand}, in {product.colour} {product.material} {feel}.",
        f"for {_pick(rng, product)}: {_noun_phrase(product, adjective + ', ' + product.cut)}, made of {product.cloth}.",
        f"{brand} gives {_noun_phrase(product, product.cut)} {article(product.style.name)} turn, in {product.cloth}.",
        f"{product.material} {feel}, made up as {_noun_phrase(product, adjective + ' ' + product.colour)}.",
    )
    return _capital(rng.choices(forms, (0.3, 0.2, 0.2, 0.15, 0.15))[0])


def _middle(rng: random.Random, product: Product) -> str:
    they, have = ("They", "have") if product.kind.plural else ("It", "has")
    _, first, second = product.details  # the opening has used the first one
    finish = "finish them" if product.kind.plural else "finish it"
    forms = (
        f"{they} {have} {first} and {second}.",
        f"{_capital(first)} and {second} {finish}.",
        f"The look is {product.style.name}, with {second}.",
        f"{_capital(article(product.pattern))} surface and {second} set the tone."
        if product.pattern != "plain"
        else f"{_capital(product.colour)} all over, with {first}.",
    )
    return rng.choice(forms)


def _closing(rng: random.Random, product: Product) -> str:
    them, phrase = ("them", _pick(rng, product)) if product.kind.plural else ("it", _pick(rng, product))
    partner = partner_of(rng, product)
    forms = [
        f"Rent {them} for {phrase}.",
        f"Made for {phrase} in {product.season}.",
        f"Wear {them} to {phrase} with {partner}." if not phrase.startswith(("the ", "her ")) else f"For {phrase}.",
        f"{article(product.season).capitalize()} favourite for {phrase}.",
        f"Pair {them} with {partner}.",
        rng.choice(PRICE_NOTES[product.brand.tier]),
        rng.choice(FIT_NOTES),
    ]
    return rng.choices(forms, (3, 3, 2, 2, 2, 1.5, 1))[0]


def _phrases(product: Product) -> tuple[str, ...]:
    return OCCASIONS[product.occasion].phrases


def _pick(rng: random.Random, product: Product) -> str:
    return rng.choice(_phrases(product))


def partner_of(rng: random.Random, product: Product) -> str:
    """Draw a garment that is worn with this one: another step of the same occasion's plan."""
    steps = [step for step in OCCASIONS[product.occasion].plan if product.kind.category not in step]
    category = rng.choice(rng.choice(steps))
    nouns = [kind for kind in KINDS if kind.category == category and product.occasion in kind.occasions]
    partner = rng.choice(nouns or [kind for kind in KINDS if kind.category == category])
    phrase = f"{rng.choice(partner.cuts)} {partner.noun}"
    return phrase if partner.plural else article(phrase)


def write_description(rng: random.Random, product: Product) -> str:
    """Write one to three sentences: the garment, its details, the occasion to wear it."""
    opening, closing = _opening(rng, product), _closing(rng, product)
    while any(phrase in opening and phrase in closing for phrase in _phrases(product)):
        closing = _closing(rng, product)
    sentences = [opening]
    length = rng.choices((1, 2, 3), (0.15, 0.45, 0.4))[0]
    if length == 3:
        sentences.append(_middle(rng, product))
    if length >= 2:
        sentences.append(closing)
    return " ".join(sentences)
