"""Rows for other trainers: what is counted and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.prompts.conversation_rows import MESSAGES, PROMPT_COMPLETION, TRL_MAX_LENGTH, RowMaker
from gti_cli.prompts.conversations import Conversation
from tests.support.models import make_tokenizer

SHORT = Conversation("search", "You know.", "Which item?", "<a_1>")
LONG = Conversation("search", "You know.", "0 1 " * TRL_MAX_LENGTH + "?", "<a_1>")


@pytest.mark.parametrize("form", [MESSAGES, PROMPT_COMPLETION])
def test_rows_and_counts(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = make_tokenizer()
    maker = RowMaker(tokenizer, form, None)
    rows = list(maker.rows("search:2", [SHORT, LONG]))
    assert [row.pop("task") for row in rows] == ["search:2"] * 2
    if form == MESSAGES:
        assert rows[0] == {"messages": SHORT.messages(tokenizer)}
    else:
        prompt = (
            "<|im_start|>system\nYou know.<|im_end|>\n<|im_start|>user\nWhich item?<|im_end|>\n<|im_start|>assistant\n"
        )
        assert rows[0] == {"prompt": prompt, "completion": "<a_1><|im_end|>"}
    done = maker.exported
    assert (done.rows, dict(done.kinds), done.cut) == (2, {"search": 2}, 1) and done.longest > 2 * TRL_MAX_LENGTH
    maker.say_differences()
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 2 rows have more than 1,024 tokens" in said and "max_length=None" in said
    assert (r"2 of 2 rows have '\n' behind <|im_end|>" in said) == (form == MESSAGES)


def test_the_end_token_is_compared_with_the_one_of_the_tokenizer() -> None:
    tokenizer: Any = make_tokenizer()
    assert RowMaker(tokenizer, PROMPT_COMPLETION, None).exported.ends_as_trl
    tokenizer.eos_token = "<|endoftext|>"
    exported = RowMaker(tokenizer, PROMPT_COMPLETION, None).exported
    assert (exported.end, exported.ends_as_trl) == ("<|im_end|>", False)
