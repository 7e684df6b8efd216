"""LC-Rec's auxiliary tasks (Zheng et al., arXiv 2311.09049) as questions; the wordings are ours.

They tie the code tokens of items to language: from an item's text to its tokens and back (as in
`gti_cli.prompts.pairs`), from a history in words to the next item's tokens, from a history of tokens to the next item
in words, from what a customer looks for to an item, and from a history to what the customer likes.
"""

from __future__ import annotations

from collections.abc import Sequence

from gti_cli.prompts import next_item
from gti_cli.prompts.conversations import Conversation
from gti_cli.prompts.pairs import MARK, OURS, TO_TOKENS

TEXT_TO_ITEM, ITEM_TO_TEXT = "text->item", "item->text"
TITLES_TO_ITEM, ITEMS_TO_TITLE = "titles->item", "items->title"
INTENT_TO_ITEM, ITEMS_TO_PREFERENCE = "intent->item", "items->preference"
KINDS = (TEXT_TO_ITEM, ITEM_TO_TEXT, TITLES_TO_ITEM, ITEMS_TO_TITLE, INTENT_TO_ITEM, ITEMS_TO_PREFERENCE)

_TITLES = "Give the code tokens of the item that comes next. Titles of the items so far, oldest first:\n"
_TITLE = "Give the title of the item that comes next. Items so far, oldest first:\n"
_INTENT = "A customer says what is wanted. Name an item for it:\n"
_PREFERENCE = "Say what the customer who chose these items likes. Items, oldest first:\n"


def about_item(direction: str, form: str, text: str, tokens: str) -> Conversation:
    """An item's text and its tokens, asked for in one ``direction`` of `gti_cli.prompts.pairs`."""
    asked, answer = (text, tokens) if direction == TO_TOKENS else (tokens, text)
    kind = TEXT_TO_ITEM if direction == TO_TOKENS else ITEM_TO_TEXT
    return Conversation(kind, OURS.system, OURS.questions[direction, form].replace(MARK, asked), answer)


def titles_to_item(titles: Sequence[str], tokens: str) -> Conversation:
    """A history in words, oldest first -> the next item's tokens."""
    lines = "\n".join(f"- {' '.join(title.split())}" for title in titles)
    return Conversation(TITLES_TO_ITEM, next_item.SYSTEM, _TITLES + lines, tokens)


def items_to_title(items: Sequence[str], title: str) -> Conversation:
    """A history as tokens, oldest first -> the next item's title."""
    return Conversation(ITEMS_TO_TITLE, next_item.SYSTEM, _TITLE + "".join(items), title)


def intent_to_item(intent: str, tokens: str) -> Conversation:
    """What a customer was looking for -> the tokens of what was then chosen."""
    return Conversation(INTENT_TO_ITEM, next_item.SYSTEM, _INTENT + intent, tokens)


def items_to_preference(items: Sequence[str], preference: str) -> Conversation:
    """A history as tokens, oldest first -> the customer's taste in words."""
    return Conversation(ITEMS_TO_PREFERENCE, next_item.SYSTEM, _PREFERENCE + "".join(items), preference)
