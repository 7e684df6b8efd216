"""Texts of items in one form: HTML taken out, lists joined, missing values empty."""

from __future__ import annotations

import html
import re
from typing import Any

# A tag begins with a letter or a slash. "a < b > c" is no tag.
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_SPACE = re.compile(r"\s+")


def plain_text(value: Any) -> str:
    """A value as one line of text.

    Entities of HTML become their characters and tags are taken out. Lists are joined: a list of lists (as Amazon's
    categories are) by its longest path, a list of texts by spaces.

    Args:
        value: Text, number, None, or lists of them.

    Returns:
        The text without surrounding or doubled white space; ``""`` for what is missing.
    """
    if value is None or value != value:  # NaN differs from itself
        return ""
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(plain_text, value)))
    text = str(value)
    if "&" in text or "<" in text:
        text = _TAG.sub(" ", html.unescape(_TAG.sub(" ", text)))
    return _SPACE.sub(" ", text).strip()


def category_path(value: Any) -> str:
    """Categories as ``"Beauty > Skin Care"``.

    Args:
        value: A list of names from general to special, a list of such lists (the longest counts), or text.

    Returns:
        The path; ``""`` for what is missing.
    """
    if isinstance(value, list | tuple):
        if value and all(isinstance(part, list | tuple) for part in value):
            value = max(value, key=len)
        return " > ".join(filter(None, map(plain_text, value)))
    return plain_text(value)


def has_html(value: Any) -> bool:
    """Whether `plain_text` takes HTML out of a text."""
    return isinstance(value, str) and plain_text(value) != _SPACE.sub(" ", value).strip()
