"""The tokenizer without its new tokens, against the tokenizer before it was extended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.grounding.distil.old_tokenization import OldTokenization
from tests.support.alphabets import UNUSUAL
from tests.support.distillation import extended_tokenizer
from tests.support.models import make_tokenizer

NEW = ["dress", "silk", " coat", "<x>"]
BEFORE = make_tokenizer()
EXTENDED, NEW_IDS = extended_tokenizer(NEW)
OLD = OldTokenization(EXTENDED, NEW)
PIECES = st.one_of(st.sampled_from([*NEW, "<|im_end|>", "a ", "é", "日"]), st.text(UNUSUAL, max_size=4))


@given(st.lists(PIECES, max_size=6))
def test_texts_are_split_as_before_the_extension(parts: list[str]) -> None:
    text = "".join(parts)
    (ids,) = OLD.encode([text])
    if "<|im_end|>" in text:  # texts are data, so no part of them becomes a control token
        assert BEFORE.convert_tokens_to_ids("<|im_end|>") not in ids and BEFORE.decode(ids) == text
    else:
        assert ids == BEFORE(text, add_special_tokens=False)["input_ids"]
    assert not set(ids) & NEW_IDS


def test_the_ids_are_those_of_the_old_tokens_special_ones_included() -> None:
    assert OLD.ids() == list(range(len(BEFORE)))


def test_the_tokenizer_itself_keeps_its_new_tokens_and_its_truncation_is_not_taken_over() -> None:
    tokenizer, new_ids = extended_tokenizer(["dress"])
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    (ids,) = OldTokenization(tokenizer, ["dress"]).encode(["one two three four dress"])
    assert ids == BEFORE("one two three four dress", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_tokens_to_ids("dress") in new_ids


def test_a_tokenizer_of_another_library_is_refused() -> None:
    slow: Any = type("SlowTokenizer", (), {})()
    with pytest.raises(InputError, match="SlowTokenizer cannot be used without its new tokens"):
        OldTokenization(slow, ["dress"])
