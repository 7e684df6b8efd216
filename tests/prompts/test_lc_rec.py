"""LC-Rec's auxiliary tasks: each question shows what is given, and its answer is what is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.prompts import lc_rec, next_item
from gti_cli.prompts.conversations import Conversation
from gti_cli.prompts.pair_prompts import DIRECTIONS, FORMS, TO_TEXT, TO_TOKENS, Pair, encode_pairs
from tests.support.alphabets import UNUSUAL
from tests.support.models import make_tokenizer

ITEMS = ["<a_1><b_0>", "<a_0><b_2>"]
TITLES = ["red\n  dress", "coat"]


def test_one_kind_for_each_task() -> None:
    made = [
        lc_rec.about_item(TO_TOKENS, "title", "red dress", ITEMS[0]),
        lc_rec.about_item(TO_TEXT, "title", "red dress", ITEMS[0]),
        lc_rec.titles_to_item(TITLES, ITEMS[0]),
        lc_rec.items_to_title(ITEMS, "red dress"),
        lc_rec.intent_to_item("a dress for a wedding", ITEMS[0]),
        lc_rec.items_to_preference(ITEMS, "likes red"),
    ]
    assert tuple(conversation.kind for conversation in made) == lc_rec.KINDS
    first_lines = [conversation.user.splitlines()[0] for conversation in made]
    assert len(set(first_lines)) == len(lc_rec.KINDS), "the model can tell the tasks apart by their first line"


@pytest.mark.parametrize(
    ("conversation", "shown", "answer"),
    [
        (lc_rec.titles_to_item(TITLES, ITEMS[0]), "- red dress\n- coat", ITEMS[0]),
        (lc_rec.items_to_title(ITEMS, "red dress"), "<a_1><b_0><a_0><b_2>", "red dress"),
        (lc_rec.intent_to_item("a dress for a wedding", ITEMS[1]), "a dress for a wedding", ITEMS[1]),
        (lc_rec.items_to_preference(ITEMS, "likes red"), "<a_1><b_0><a_0><b_2>", "likes red"),
    ],
)
def test_histories_and_intents_stand_behind_the_question(conversation: Conversation, shown: str, answer: str) -> None:
    question, _, rest = conversation.user.partition("\n")
    assert question.endswith(":") and rest == shown
    assert (conversation.system, conversation.assistant) == (next_item.SYSTEM, answer)


@given(st.lists(st.text(UNUSUAL, min_size=1), min_size=1, max_size=6))
def test_every_title_stays_on_one_line(titles: list[str]) -> None:
    lines = lc_rec.titles_to_item(titles, "<a_1>").user.split("\n")[1:]
    assert [line.split() for line in lines] == [["-", *title.split()] for title in titles]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_items_and_texts_are_asked_for_as_in_grounding(direction: str, form: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<a_1>", "<b_0>"])
    conversation = lc_rec.about_item(direction, form, "A red dress", ITEMS[0])
    (expected,) = encode_pairs(tokenizer, [Pair(0, form, "A red dress", ITEMS[0])], direction)
    messages = conversation.messages(tokenizer)
    rendered = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    whole = expected.prompt + expected.answer
    assert rendered[: len(whole)] == whole  # the template may put a line break behind the last turn
