from __future__ import annotations

from typing import Any

import pytest

from gti_cli.prompts.chat import encode_answer, end_of_turn
from gti_cli.prompts.pair_prompts import (
    DIRECTIONS,
    FORMS,
    TEXT_FORM,
    TO_TEXT,
    TO_TOKENS,
    Pair,
    cut_texts,
    encode_pairs,
    forms_of,
)
from tests.support.models import make_tokenizer
from tests.support.prompts import encode_pair


@pytest.fixture(scope="module", params=[True, False], ids=["chat", "plain"])
def extended(request: Any) -> Any:
    tokenizer = make_tokenizer(chat=request.param)
    tokenizer.add_tokens(["<a_0>", "<b_1>"])
    return tokenizer


def test_forms() -> None:
    assert forms_of("T", "D") == [("title", "T"), ("description", "D"), ("both", "T\nD")]
    assert forms_of("T", "") == [("title", "T")]
    assert forms_of("", "D") == [("description", "D")]
    assert forms_of("", "") == []
    assert [form for form, _ in forms_of("same", "same")] == ["title", "description"]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_all_at_once_equals_one_by_one(extended: Any, direction: str) -> None:
    texts = ["A red dress", "Ünder {the} sea\nwith a second line", "50 % off: %s"]
    pairs = [Pair(n, form, text, "<a_0><b_1>") for n, text in enumerate(texts) for form in (*FORMS, TEXT_FORM)]
    assert encode_pairs(extended, pairs, direction) == [encode_pair(extended, pair, direction) for pair in pairs]
    assert encode_pairs(extended, [], direction) == []


def test_answers_are_text_or_tokens_and_end_the_turn(extended: Any) -> None:
    pair = Pair(0, "title", "A red dress", "<a_0><b_1>")
    new = extended.convert_tokens_to_ids(["<a_0>", "<b_1>"])
    to_tokens, to_text = (encode_pairs(extended, [pair], direction)[0] for direction in DIRECTIONS)
    assert to_tokens.answer == [*new, end_of_turn(extended)]
    assert not set(new) & set(to_tokens.prompt)
    assert to_text.answer == encode_answer(extended, "A red dress")
    assert [token for token in to_text.prompt if token in new] == new
    assert "A red dress" in extended.decode(to_tokens.prompt) and "A red dress" not in extended.decode(to_text.prompt)


def test_questions_differ_by_direction_and_form(extended: Any) -> None:
    prompts = {
        (direction, form): tuple(encode_pair(extended, Pair(0, form, "x", "x"), direction).prompt)
        for direction in (TO_TOKENS, TO_TEXT)
        for form in (*FORMS, TEXT_FORM)
    }
    assert len(set(prompts.values())) == 8


def test_long_texts_are_cut_and_counted(extended: Any) -> None:
    long = "silk dress " * 40
    kept, cut, naming = cut_texts(extended, ["short", long, "é" * 50, ""], 10)
    assert cut == 2 and naming == 0 and kept[0] == "short" and kept[3] == ""
    assert long.startswith(kept[1]) and len(extended(kept[1], add_special_tokens=False)["input_ids"]) <= 10
    assert "\ufffd" not in kept[2] and kept[2]
    assert cut_texts(extended, [], 10) == ([], 0, 0)
