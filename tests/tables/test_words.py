"""Words of texts, beside the library's own splitting, and character n-grams of scripts without spaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.tables.words import any_without_spaces, terms, writes_no_spaces

SPACED = st.text(st.characters(codec="utf-8")).filter(lambda text: not writes_no_spaces(text))


@given(SPACED, st.integers(1, 3))
def test_texts_of_other_scripts_are_split_as_the_library_does(text: str, most: int) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    analyze = CountVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, most)).build_analyzer()
    assert terms(text, most) == list(analyze(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("红色裙子", "红 色 裙 子 红色 色裙 裙子"),
        ("红色、裙子", "红 色 红色 裙 子 裙子"),  # punctuation separates
        ("Nike 红色 shoe", "nike 红 色 红色 shoe"),
        ("T恤", "t 恤"),
        ("ワンピース", "ワ ン ピ ー ス ワン ンピ ピー ース"),
        ("ﾜﾝﾋﾟｰｽ", "ワ ン ピ ー ス ワン ンピ ピー ース"),  # half width
        ("Ｔシャツ", "t シ ャ ツ シャ ャツ"),  # full width
        ("ที่นี่", "ที่ นี่ ที่นี่"),  # vowel signs and tone marks stay with their letter
        ("𠮷野家", "𠮷 野 家 𠮷野 野家"),
        ("色", "色"),
        ("。、", ""),
    ],
)
def test_runs_of_characters(text: str, expected: str) -> None:
    assert terms(text) == expected.split()


def test_lengths_of_the_runs() -> None:
    assert terms("红色裙子", grams=(2, 3)) == ["红色", "色裙", "裙子", "红色裙", "色裙子"]
    assert terms("红 色裙", grams=(2, 3)) == ["红", "色裙"]  # a shorter run is one term
    # Words on both sides of a run are no neighbours.
    assert terms("a b 红 c d", most_words=2) == ["a", "b", "a b", "红", "c", "d", "c d"]


@pytest.mark.parametrize("text", ["红", "ひ", "カ", "ㄅ", "ก", "ກ", "ក", "မ"])
def test_scripts_without_spaces(text: str) -> None:
    assert writes_no_spaces(f"x {text}") and any_without_spaces(["plain", text])


@pytest.mark.parametrize("text", ["", "dress", "Kleid für Ärzte", "платье", "드레스", "कपड़ा", "فستان", "「」、。฿"])
def test_scripts_with_spaces(text: str) -> None:
    assert not writes_no_spaces(text) and not any_without_spaces([text])
