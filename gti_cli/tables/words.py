"""The words of texts; for scripts that write no spaces between words, short runs of characters.

Chinese, Japanese, Thai, Lao, Khmer and Burmese texts do not mark where a word ends. Split at spaces, each title would
be one long word that no other title has. So a run of such characters gives its character n-grams, as search engines
index these languages. Texts in other scripts are split as scikit-learn's vectorizers split them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# For scikit-learn, whose own pattern leaves out words of one character, such as sizes.
ONE_CHARACTER_WORDS = r"(?u)\b\w+\b"
GRAMS = (1, 2)  # lengths of the character n-grams, from the shortest to the longest

# Ranges of characters that are written without spaces between words: Han, kana and bopomofo, and the scripts for which
# Unicode's line breaking (UAX #14, class SA) needs a dictionary. Punctuation of these scripts is not among them.
_UNSPACED = (
    "\u2e80-\u2fd5\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U00020000-\U0002fa1f\U00030000-\U000323af"  # rarer Han
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # hiragana and katakana
    "\u3105-\u312f\u31a0-\u31bf"  # bopomofo
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59"  # Thai
    "\u0e81-\u0edf"  # Lao
    "\u1000-\u1049\u1050-\u109f\ua9e0-\ua9fe\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17d3\u17d7\u17dc\u17dd\u17e0-\u17e9"  # Khmer
    "\u1950-\u1974\u1980-\u19da\u1a20-\u1a99\uaa80-\uaadd"  # Tai Le, Tai Lue, Tai Tham, Tai Viet
)
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(r"\w+")
_RUN_OR_WORD = re.compile(rf"([{_UNSPACED}]+)|[^\W{_UNSPACED}]+")


def writes_no_spaces(text: str) -> bool:
    """Return whether a text has characters of a script that writes no spaces between words."""
    return not text.isascii() and _HAS_UNSPACED.search(text) is not None


def any_without_spaces(texts: Iterable[str]) -> bool:
    """Return whether `terms` splits one of the texts otherwise than scikit-learn's vectorizers would."""
    return any(map(writes_no_spaces, texts))


def terms(text: str, most_words: int = 1, grams: tuple[int, int] = GRAMS) -> list[str]:
    """Split a text into terms, in lower case.

    Args:
        text: The text.
        most_words: The longest run of neighbouring words that is a term, joined by spaces; 1 for single words.
        grams: Lengths of the shortest and the longest character n-gram of scripts without spaces. A run that is shorter
            than the shortest is one term.

    Returns:
        The words, the runs of words, and the character n-grams; repeated as often as they occur.
    """
    if not writes_no_spaces(text):
        return _runs_of_words(_WORD.findall(text.lower()), most_words)
    found: list[str] = []
    words: list[str] = []
    # Texts of these scripts hold letters in several forms (half and full width), which are made one.
    for match in _RUN_OR_WORD.finditer(unicodedata.normalize("NFKC", text).lower()):
        if match[1] is None:
            words.append(match[0])
            continue
        found += _runs_of_words(words, most_words) + _character_grams(match[0], grams)
        words = []
    return found + _runs_of_words(words, most_words)


def _runs_of_words(words: list[str], most: int) -> list[str]:
    """Return the words, and all runs of 2 to ``most`` neighbouring words."""
    longer = (
        " ".join(words[start : start + size]) for size in range(2, most + 1) for start in range(len(words) - size + 1)
    )
    return [*words, *longer]


def _character_grams(run: str, grams: tuple[int, int]) -> list[str]:
    """Return the n-grams of a run of characters; marks such as vowel signs stay with the character before them."""
    characters: list[str] = []
    for character in run:
        if characters and unicodedata.category(character).startswith("M"):
            characters[-1] += character
        else:
            characters.append(character)
    shortest = min(grams[0], len(characters))
    return [
        "".join(characters[start : start + size])
        for size in range(shortest, grams[1] + 1)
        for start in range(len(characters) - size + 1)
    ]
