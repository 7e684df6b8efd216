"""The question for items that fit a query: the wording first, then the query's words, nothing behind them.

As in `gti_cli.prompts.next_item`, all prompts start with the same tokens, which the search computes once for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gti_cli.prompts.chat import encode_prompt
from gti_cli.prompts.conversations import Conversation, encode_conversations
from gti_cli.prompts.pairs import cut_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = "You search a catalogue. Every item is written as a short run of code tokens."
WORDING = "Name an item that fits this query:\n"
MAX_QUERY_TOKENS = 128  # of a query's own words; longer ones are cut, and counted


def question(text: str) -> str:
    """The user's message for a query."""
    return WORDING + text


def encode_query(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of the prompt for one query, as long as it is."""
    return encode_prompt(tokenizer, SYSTEM, question(text))


def encode_queries(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[list[list[int]], int]:
    """Token ids of the prompts for many queries; template rendered once, texts tokenised together.

    Args:
        tokenizer: of the extended model. texts: queries, without white space around them.

    Returns:
        the prompts, each equal to `encode_query` of the query cut to `MAX_QUERY_TOKENS`, and how many were cut.
    """
    if not texts:
        return [], 0
    shown, cut = cut_texts(tokenizer, texts, MAX_QUERY_TOKENS)
    found = encode_conversations(tokenizer, [Conversation("search", SYSTEM, question(text), "") for text in shown])
    return [example.prompt for example in found], cut
