"""Plain ways to encode one prompt, as a reference for the fast ways that encode many."""

from __future__ import annotations

from typing import Any

from gti_cli.prompts.chat import PLACEHOLDER, encode_answer, encode_prompt
from gti_cli.prompts.examples import Example
from gti_cli.prompts.pair_prompts import DEFAULT_TEMPLATES, TO_TOKENS, Pair, Templates
from gti_cli.prompts.query import SYSTEM, question


def encode_pair(tokenizer: Any, pair: Pair, direction: str, templates: Templates = DEFAULT_TEMPLATES) -> Example:
    """Prompt and answer of one pair."""
    given, answer = (pair.text, pair.tokens) if direction == TO_TOKENS else (pair.tokens, pair.text)
    user = templates.questions[direction, pair.form].replace(PLACEHOLDER, given)
    return Example(encode_prompt(tokenizer, templates.system, user), encode_answer(tokenizer, answer))


def encode_query(tokenizer: Any, text: str) -> list[int]:
    """Prompt of one query, which is not cut."""
    return encode_prompt(tokenizer, SYSTEM, question(text))
