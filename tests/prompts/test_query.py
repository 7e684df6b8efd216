"""Prompts for search queries: the fast way equals the plain one, and long queries are cut."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.prompts.chat import encode_prompt
from gti_cli.prompts.query import MAX_QUERY_TOKENS, SYSTEM, WORDING, encode_queries
from tests.support.models import make_tokenizer
from tests.support.prompts import encode_query


@pytest.mark.parametrize("chat", [True, False])
def test_many_at_once_equal_one_by_one(chat: bool) -> None:
    tokenizer: Any = make_tokenizer(chat=chat)
    texts = ["red dress", "Überwurf, größe 42?", "a", "linen shirt " * 9 + "end"]
    prompts, shown = encode_queries(tokenizer, texts)
    assert prompts == [encode_query(tokenizer, text) for text in texts] and shown == (texts, 0, 0)
    assert prompts[0] == encode_prompt(tokenizer, SYSTEM, WORDING + "red dress")
    assert encode_queries(tokenizer, []) == ([], ([], 0, 0))


def test_long_queries_are_cut_and_counted(tokenizer: Any) -> None:
    words = "red blue dress coat " * MAX_QUERY_TOKENS
    (long, short), shown = encode_queries(tokenizer, [words, "coat"])
    assert shown.cut == 1 and shown.naming == 0
    template = len(short) - len(tokenizer("coat", add_special_tokens=False)["input_ids"])
    assert len(long) == pytest.approx(template + MAX_QUERY_TOKENS, abs=2)
