"""Names of the tokens that make up semantic IDs.

The style ``lc-rec`` names code c of level 0 ``<a_c>``, of level 1 ``<b_c>``, and so on, as LC-Rec, LETTER and
MiniOneRec do. The style ``onerec`` names them ``<s_a_c>``, ``<s_b_c>``, …, as OpenOneRec's checkpoints have them and
the engine FlashRec expects them. It also puts each item's codes between the tokens ``<|sid_begin|>`` and
``<|sid_end|>``. These two are new tokens, too, but no codes; their ids follow that of the last code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_LEVELS = 26  # one letter each
LC_REC, ONEREC = "lc-rec", "onerec"
TOKEN_STYLES = (LC_REC, ONEREC)
BEGIN, END = "<|sid_begin|>", "<|sid_end|>"
_NAME = re.compile(r"<(?:s_)?([a-z])_(\d+)>")


def token_name(level: int, code: int, style: str = LC_REC) -> str:
    """Name the token of a code: ``token_name(0, 12) == "<a_12>"``, or ``"<s_a_12>"`` in the style ``onerec``."""
    if not 0 <= level < MAX_LEVELS:
        raise ValueError(f"level {level} has no letter; at most {MAX_LEVELS} levels")
    return f"<{'s_' if style == ONEREC else ''}{chr(ord('a') + level)}_{code}>"


def code_pattern(level: int, style: str = LC_REC) -> str:
    """Write the tokens of a level with ``{}`` for the code: ``code_pattern(0) == "<a_{}>"``."""
    return token_name(level, 0, style).replace("0", "{}")


def parse_name(name: str) -> tuple[int, int] | None:
    """Return the (level, code) that a token's name in either style stands for; None for any other token."""
    match = _NAME.fullmatch(name)
    return (ord(match[1]) - ord("a"), int(match[2])) if match else None


def boundary_tokens(style: str) -> tuple[str, str]:
    """Return the tokens before and behind an item's codes; empty strings in a style that has none."""
    return (BEGIN, END) if style == ONEREC else ("", "")


def semantic_id(codes: Sequence[int], style: str = LC_REC) -> str:
    """Write an item's tokens as text: ``semantic_id([12, 3]) == "<a_12><b_3>"``, with the style's boundary tokens."""
    begin, end = boundary_tokens(style)
    return begin + "".join(token_name(level, int(code), style) for level, code in enumerate(codes)) + end


def all_names(sizes: Sequence[int], style: str = LC_REC) -> list[str]:
    """List the names of all codes, level by level, then of the style's boundary tokens.

    Args:
        sizes: Number of codes of each level.
        style: One of `TOKEN_STYLES`.
    """
    names = [token_name(level, code, style) for level, size in enumerate(sizes) for code in range(size)]
    return [*names, *filter(None, boundary_tokens(style))]


def text_before_codes(item_tokens: str) -> str:
    """Return the part of an item's tokens before its first code: ``"<|sid_begin|>"``, or an empty string."""
    first_code = _NAME.search(item_tokens)
    return item_tokens[: first_code.start()] if first_code else ""


def split_tokens(text: str) -> list[str]:
    """List the codes in an item's tokens: ``split_tokens("<a_12><b_3>") == ["<a_12>", "<b_3>"]``."""
    return [match[0] for match in _NAME.finditer(text)]
