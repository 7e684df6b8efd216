"""Texts without HTML, categories as paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gti_cli.importing.texts import category_path, has_html, plain_text
from tests.support.alphabets import UNUSUAL


def test_html_is_taken_out_and_comparisons_stay() -> None:
    assert plain_text("<b>Big</b>&nbsp;&amp; <a href='x'>red</a>") == "Big & red"
    assert plain_text("&lt;b&gt;Big&lt;/b&gt;") == "Big"
    assert plain_text("size < 5 and > 3") == "size < 5 and > 3"
    assert plain_text(" a\n b\t") == "a b"


def test_missing_values_and_lists() -> None:
    assert plain_text(None) == plain_text(float("nan")) == plain_text([]) == ""
    assert plain_text(["A pen.", None, "Red."]) == "A pen. Red."
    assert plain_text(7) == "7"


def test_the_longest_of_several_category_paths_counts() -> None:
    assert category_path([["Toys"], ["Clothing", "Girls"]]) == "Clothing > Girls"
    assert category_path(["Office", "Pens"]) == "Office > Pens"
    assert category_path("Office") == "Office"
    assert category_path([]) == category_path(None) == ""


@given(st.text(UNUSUAL.translate({ord(mark): None for mark in "<&"}), max_size=30))
def test_text_without_marks_keeps_its_words(text: str) -> None:
    assert plain_text(text).split() == text.split() and not has_html(text)


def test_html_is_noticed() -> None:
    assert has_html("a &amp; b") and has_html("<i>a</i>") and not has_html("a & b") and not has_html(None)
