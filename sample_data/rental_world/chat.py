"""Questions and answers about products and about the shop's world, as chat messages.

From these the small LM learns the form of a chat and the meaning of the words: a veil belongs to bridal accessories,
teal is a blue, heels go with an evening gown. No answer says who rented an item.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from rental_world.products import Product, partner_of
from rental_world.prose import Slots, draw_slots, plan_garments, with_article
from rental_world.words import BRANDS, FEEL, OCCASIONS, STYLES

Message = dict[str, str]
Turn = tuple[str, str]

SYSTEMS = (
    "You are the assistant of a shop that rents clothes.",
    "You know the catalogue of a clothes-rental shop by heart. Answer briefly.",
    "You help customers to find clothes to rent.",
    "You describe products and file them in the right category.",
    "Answer the question of the user.",
    "You are a helpful assistant.",
)


def _ask(rng: random.Random, *forms: str) -> str:
    return rng.choice(forms)


def _category(rng: random.Random, product: Product) -> Turn:
    question = _ask(
        rng,
        f"Which category does {product.title} belong to?",
        f"Where is this product filed? {product.title}",
        f"Give the category of the item.\nTitle: {product.title}\nDescription: {product.description}",
        f"Description: {product.description}\nWhich category is this?",
    )
    return question, product.kind.category


def _describe(rng: random.Random, product: Product) -> Turn:
    question = _ask(
        rng,
        f"Describe {product.title}.",
        f"Write a description for the product with this title: {product.title}",
        f"What can you say about the {product.title}?",
    )
    return question, product.description


def _title(rng: random.Random, product: Product) -> Turn:
    question = _ask(
        rng,
        f"Which title fits this description? {product.description}",
        f"Give the product described here its title.\n{product.description}",
        f"{product.description}\nWhat is this item called?",
    )
    return question, product.title


def _both(rng: random.Random, product: Product) -> Turn:
    question = f"Write title and description of {with_article(product.kind.noun)} by {product.brand.name}."
    return question, f"{product.title}\n{product.description}"


def _attribute(rng: random.Random, product: Product) -> Turn:
    text = rng.choice((product.title, f"{product.title}. {product.description}"))
    values = {
        "Which colour is it?": product.colour,
        "What is the colour family?": product.family,
        "What is it made of?": product.material,
        "Is it plain or patterned?": product.pattern,
        "What kind of garment is it?": product.kind.noun,
    }
    if text != product.title:
        values |= {
            "Which style is it?": product.style.name,
            "What is the occasion?": product.occasion,
            "Which season is it for?": product.season,
        }
    question = rng.choice(list(values))
    return f"{text}\n{question}" if rng.random() < 0.5 else f"{question} {text}", values[question]


def _house(rng: random.Random, product: Product) -> Turn:
    return f"Who makes the {product.title}?", product.brand.name


def _partner(rng: random.Random, product: Product) -> Turn:
    question = _ask(
        rng,
        f"What goes with {product.title}?",
        f"A customer rents {product.title}. What else might she need?",
        f"What should I wear with the {product.title}?",
    )
    return question, partner_of(rng, product)


def _matches(rng: random.Random, product: Product) -> Turn:
    request = rng.choice((product.kind.noun, product.material, product.colour, product.style.name))
    slots = draw_slots(rng)
    if rng.random() < 0.5:
        request = rng.choice((slots["noun"], slots["material"], slots["colour"], slots["style"]))
    fits = request in (product.kind.noun, product.material, product.colour, product.style.name)
    question = f"I am looking for something: {request}. Does this fit? {product.title}. {product.description}"
    return question, "Yes, it fits." if fits else "No, it does not."


def _plan(rng: random.Random, slots: Slots) -> Turn:
    occasion = next(entry for entry in OCCASIONS.values() if slots["phrase"] in entry.phrases)
    garments = [with_article(kind.noun) for kind in plan_garments(rng, occasion)]
    answer = f"{', '.join(garments[:-1])} and {garments[-1]}"
    return f"What do I need for {slots['phrase']}?", f"{answer[0].upper()}{answer[1:]}."


def _world(rng: random.Random, slots: Slots) -> Turn:
    brand = BRANDS[slots["house"]]
    pairs = (
        (f"What is {slots['material']} like?", f"{slots['Material']} is {FEEL[slots['material']]}."),
        (f"Which colour family is {slots['colour']}?", slots["family"]),
        (f"Name a colour close to {slots['colour']}.", slots["sibling"]),
        (f"What style is {brand.name} known for?", f"{brand.styles[0]} and {brand.styles[1]}"),
        (f"Name a house that makes {slots['style']} clothes.", brand.name),
        (f"Is {brand.name} expensive?", f"{brand.name} is {slots['price']} house."),
        (f"Which materials are {slots['style']}?", ", ".join(STYLES[slots["style"]].materials[:3])),
        (f"Describe the {slots['style']} style.", f"It is {slots['adjective']} and {slots['adjective_2']}."),
        (f"Where do I find {slots['a_noun']}?", slots["category"]),
        (f"When do people rent for {slots['phrase']}?", f"In {slots['season']}."),
        (f"Which style suits {slots['phrase']}?", slots["style"]),
    )
    return rng.choice(pairs)


# Each kind of question about a product, and its weight in the draw.
_ABOUT_PRODUCT: tuple[tuple[Callable[[random.Random, Product], Turn], float], ...] = (
    (_category, 3),
    (_describe, 3),
    (_title, 3),
    (_both, 1),
    (_attribute, 3),
    (_house, 0.5),
    (_partner, 2),
    (_matches, 1),
)


def write_chat(rng: random.Random, product: Product) -> list[Message]:
    """Write a conversation of one or two questions, most of them about the product."""
    writers, weights = zip(*_ABOUT_PRODUCT, strict=True)
    turns: list[Turn] = []
    for _ in range(rng.choices((1, 2), (0.75, 0.25))[0]):
        if rng.random() < 0.7:
            turns.append(rng.choices(writers, weights)[0](rng, product))
        else:
            turns.append(rng.choice((_plan, _world, _world))(rng, draw_slots(rng)))
    messages = [{"role": "system", "content": rng.choice(SYSTEMS)}] if rng.random() < 0.7 else []
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages
