"""The question for items that fit a search query: first the wording, then the query's words, and nothing behind them.

As in `gti_cli.prompts.next_item`, all prompts begin with the same tokens, which the search computes once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gti_cli.prompts.conversations import USER, Conversation, encode_conversations
from gti_cli.prompts.pair_prompts import CutTexts, cut_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = "You search a catalogue. Every item is written as a short run of code tokens."
WORDING = "Name an item that fits this query:\n"
MAX_QUERY_TOKENS = 128  # limit for a query's own words; longer queries are cut and counted


def question(text: str) -> str:
    """Return the user's message for a query."""
    return WORDING + text


def encode_queries(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[list[list[int]], CutTexts]:
    """Return the token ids of the prompts for many queries.

    Args:
        tokenizer: Tokenizer of the extended model.
        texts: Queries, without white space at either end.

    Returns:
        The prompts, and the queries as they show them, cut to `MAX_QUERY_TOKENS` tokens.
    """
    shown = cut_texts(tokenizer, texts, MAX_QUERY_TOKENS)
    conversations = [Conversation("search", SYSTEM, question(text), "", USER) for text in shown.texts]
    return [example.prompt for example in encode_conversations(tokenizer, conversations)], shown
