"""LC-Rec's auxiliary tasks (Zheng et al., arXiv 2311.09049) as conversations; the wordings are our own.

The tasks tie the code tokens of items to language. There are six kinds: an item's text to its tokens and back (as in
`gti_cli.prompts.pair_prompts`), a history of titles to the next item's tokens, a history of tokens to the next item's
title, a customer's intent to an item's tokens, and a history of tokens to the customer's preference in words.
"""

from __future__ import annotations

from collections.abc import Sequence

from gti_cli.prompts import next_item
from gti_cli.prompts.chat import PLACEHOLDER
from gti_cli.prompts.conversations import ASSISTANT, USER, Conversation
from gti_cli.prompts.pair_prompts import DEFAULT_TEMPLATES, TO_TOKENS

TEXT_TO_ITEM, ITEM_TO_TEXT = "text->item", "item->text"
TITLES_TO_ITEM, ITEMS_TO_TITLE = "titles->item", "items->title"
INTENT_TO_ITEM, ITEMS_TO_PREFERENCE = "intent->item", "items->preference"
KINDS = (TEXT_TO_ITEM, ITEM_TO_TEXT, TITLES_TO_ITEM, ITEMS_TO_TITLE, INTENT_TO_ITEM, ITEMS_TO_PREFERENCE)

_TITLES = "Give the code tokens of the item that comes next. Titles of the items so far, oldest first:\n"
_TITLE = "Give the title of the item that comes next. Items so far, oldest first:\n"
_INTENT = "A customer says what is wanted. Name an item for it:\n"
_PREFERENCE = "Say what the customer who chose these items likes. Items, oldest first:\n"


def about_item(direction: str, form: str, text: str, tokens: str) -> Conversation:
    """Ask for an item's tokens given its text, or for its text given its tokens.

    Args:
        direction: One of `pairs.DIRECTIONS`.
        form: What the text is: one of `pairs.FORMS`.
        text: The item's text.
        tokens: The item's tokens, e.g. ``"<a_12><b_3>"``.
    """
    given, answer = (text, tokens) if direction == TO_TOKENS else (tokens, text)
    kind = TEXT_TO_ITEM if direction == TO_TOKENS else ITEM_TO_TEXT
    question = DEFAULT_TEMPLATES.questions[direction, form].replace(PLACEHOLDER, given)
    return Conversation(kind, DEFAULT_TEMPLATES.system, question, answer, USER if direction == TO_TOKENS else ASSISTANT)


def titles_to_item(titles: Sequence[str], tokens: str) -> Conversation:
    """Ask for the next item's tokens, given the titles of a history, oldest first."""
    lines = "\n".join(f"- {' '.join(title.split())}" for title in titles)
    return Conversation(TITLES_TO_ITEM, next_item.SYSTEM, _TITLES + lines, tokens, USER)


def items_to_title(items: Sequence[str], title: str) -> Conversation:
    """Ask for the next item's title, given the tokens of a history's items, oldest first."""
    return Conversation(ITEMS_TO_TITLE, next_item.SYSTEM, _TITLE + "".join(items), title, ASSISTANT)


def intent_to_item(intent: str, tokens: str) -> Conversation:
    """Ask for the tokens of the item that a customer chose, given what the customer was looking for."""
    return Conversation(INTENT_TO_ITEM, next_item.SYSTEM, _INTENT + intent, tokens, USER)


def items_to_preference(items: Sequence[str], preference: str) -> Conversation:
    """Ask for the customer's taste in words, given the tokens of a history's items, oldest first."""
    return Conversation(ITEMS_TO_PREFERENCE, next_item.SYSTEM, _PREFERENCE + "".join(items), preference, ASSISTANT)
