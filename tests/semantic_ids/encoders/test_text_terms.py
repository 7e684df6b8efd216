from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from gti_cli.semantic_ids.encoders.text_terms import split_texts
from gti_cli.tables import words

LETTERS = "abZ1_ ,-\nßİΣéא́裙红の"


@settings(max_examples=80)
@given(texts=st.lists(st.text(LETTERS, max_size=25), max_size=6), grams=st.sampled_from([None, (1, 2)]))
def test_terms_are_those_of_scikit_learn(texts: list[str], grams: tuple[int, int] | None) -> None:
    splitter = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b").build_analyzer()
    if grams is not None:
        splitter = partial(words.terms, most_words=2, grams=grams)
    terms, rows = split_texts(texts, grams)
    counted = [Counter[str]() for _ in texts]
    for term, row in zip(terms.to_pylist(), rows.tolist(), strict=True):
        counted[row][term] += 1
    assert counted == [Counter(splitter(text)) for text in texts]


@pytest.mark.parametrize("grams", [None, (1, 2)])
def test_texts_without_a_word_have_no_terms(grams: tuple[int, int] | None) -> None:
    assert len(split_texts(["?!", ""], grams)[0]) == 0
