"""Search of titles by words: every word of the query must begin a word of the title."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from gti_cli.tables.words import terms, writes_no_spaces


class TitleIndex:
    """An inverted index of titles: word -> the items whose titles have it.

    Args:
        item_ids: The items.
        titles: Their titles, in the same order.
    """

    def __init__(self, item_ids: Sequence[str], titles: Sequence[str]) -> None:
        self._place = {item: place for place, item in enumerate(item_ids)}
        self._lengths = np.asarray([len(_words(title)) for title in titles], np.int64)
        places: dict[str, list[int]] = {}
        for place, title in enumerate(titles):
            for word in set(_words(title)):
                places.setdefault(word, []).append(place)
        # In order of the alphabet, the words that begin with some letters are neighbours.
        self._words = sorted(places)
        self._places = [np.asarray(places[word], np.int64) for word in self._words]

    def find(self, query: str) -> list[int]:
        """Find items by words of their titles, or by their id.

        Args:
            query: Words, or beginnings of words, in any order.

        Returns:
            Places of the items, the best first: an item whose id is the query; then titles that have more of the words
            in full; then shorter titles; then in the order of the catalogue.
        """
        words = sorted(set(_words(query)))
        found = None
        full = np.zeros(len(self._lengths), np.int64)
        for word in words:
            first, behind = self._range_of(word)
            if first == behind:
                found = np.empty(0, np.int64)
                break
            places = np.unique(np.concatenate(self._places[first:behind]))
            found = places if found is None else np.intersect1d(found, places, assume_unique=True)
            if self._words[first] == word:
                full[self._places[first]] += 1
        # lexsort takes the last key as the first to sort by.
        ranked = [] if found is None else found[np.lexsort((self._lengths[found], -full[found]))].tolist()
        named = self._place.get(query.strip())
        return ranked if named is None else [named, *(place for place in ranked if place != named)]

    def _range_of(self, beginning: str) -> tuple[int, int]:
        """Return the range of the words that begin with some letters."""
        first = bisect_left(self._words, beginning)
        # No character follows U+10FFFF, so this is the place behind the last such word.
        return first, bisect_left(self._words, beginning + "\U0010ffff", lo=first)


def _words(text: str) -> list[str]:
    """Return the words of a text without accents, so that ``cafe`` finds ``Café``."""
    if not text.isascii() and not writes_no_spaces(text):
        text = "".join(part for part in unicodedata.normalize("NFKD", text) if not unicodedata.combining(part))
    return terms(text)
