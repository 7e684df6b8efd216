"""The pretrained words nearest to each new token, and whether they occur in the texts of the items that carry it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gti_cli.diagnostics.token_selection import Vocabulary
from gti_cli.geometry.neighbours import Neighbours, nearest
from gti_cli.geometry.sampling import evenly
from gti_cli.tensors.safetensors_rows import TokenMatrix

WORDS = 10  # nearest words of each token
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_WORK = 5e10  # multiply-adds that a search may cost; where it would cost more, part of the vocabulary is searched


@dataclass(frozen=True)
class NearestWords:
    """The k pretrained tokens nearest to each of n new tokens.

    Attributes:
        neighbours: Their ids and cosines, (n, k).
        searched: Number of pretrained rows that were compared.
        words: n lists of k texts, as `Vocabulary.word` gives them.
    """

    neighbours: Neighbours
    searched: int
    words: list[list[str]]


@dataclass(frozen=True)
class WordAgreement:
    """How often the nearest words of a token occur in the texts of the items that carry it.

    Attributes:
        hits: (n, k) float64. 1 where the word occurs, 0 where it does not, NaN where the token has no items or the
            word has no letters.
        mean: Share of words that occur, mean over the tokens that were compared.
        chance: The same share for the texts of the items of another token.
        tokens: Number of tokens that were compared.
    """

    hits: npt.NDArray[np.float64]
    mean: float
    chance: float
    tokens: int


def nearest_words(
    new: npt.NDArray[np.float32],
    place: TokenMatrix,
    pretrained: npt.NDArray[np.int64],
    vocabulary: Vocabulary | None,
    *,
    mean: npt.NDArray[np.float32] | None = None,
    work: float = _WORK,
) -> NearestWords:
    """Find the pretrained tokens whose rows are nearest to the new rows, by cosine.

    The matrix is read in blocks and never held as a whole.

    Args:
        new: (n, d). Rows of the new tokens.
        place: The matrix that holds the pretrained rows.
        pretrained: (p,) ids of the pretrained tokens.
        vocabulary: The names of the tokens. None: they are named after their ids.
        mean: (d,). The mean pretrained row, subtracted from both sides first. The rows of a vocabulary share a
            direction without meaning. If it stayed, every token would have the same few nearest words.
        work: Multiply-adds that the search may cost. Where it would cost more, an evenly spread part of the pretrained
            tokens is searched.
    """
    ids = pretrained[evenly(len(pretrained), max(WORDS, int(work / (len(new) * new.shape[1]))))]
    centre = np.zeros(new.shape[1], dtype=np.float32) if mean is None else mean
    blocks = ((block_ids, rows - centre) for block_ids, rows in place.blocks(ids, 4096))
    neighbours = nearest(new - centre, blocks, WORDS)
    texts: dict[int, str] = {
        int(token): vocabulary.word(int(token)) if vocabulary else f"id {token}" for token in np.unique(neighbours.ids)
    }
    return NearestWords(neighbours, len(ids), [[texts[token] for token in row] for row in neighbours.ids.tolist()])


@lru_cache(maxsize=1 << 18)
def plain(word: str) -> str:
    """The form in which words are compared: lower case, letters and digits only; ``""`` with fewer than two letters."""
    stripped = _NOT_ALPHANUMERIC.sub("", word.lower())
    letters = len(stripped) if stripped.isalpha() else sum(map(str.isalpha, stripped))
    return stripped if letters >= 2 else ""


class TextWords:
    """The words of every item's text, where a word is a token of a checkpoint's tokenizer.

    The words are cached by tokenizer, because the checkpoints of a diagnosis mostly share one.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = list(texts)
        self._by_tokenizer: dict[str, list[frozenset[str]]] = {}

    def of(self, vocabulary: Vocabulary) -> list[frozenset[str]]:
        """For each item, the set of the words of its text, in the form of `plain`."""
        key = hashlib.sha256(vocabulary.tokenizer.to_str().encode()).hexdigest()
        if key not in self._by_tokenizer:
            encoded = vocabulary.tokenizer.encode_batch(self._texts, add_special_tokens=False)
            forms = {token: plain(vocabulary.word(token)) for token in {i for item in encoded for i in item.ids}}
            self._by_tokenizer[key] = [frozenset(forms[i] for i in item.ids) - {""} for item in encoded]
        return self._by_tokenizer[key]


def word_agreement(
    words: NearestWords, carriers: Sequence[npt.NDArray[np.int64]], texts: Sequence[frozenset[str]]
) -> WordAgreement:
    """Look up the nearest words of each token in the texts of the items that carry it.

    The mean share alone says little, because the texts of different items share words. ``chance`` is the yardstick: the
    same words looked up in the texts of another token, the one half the list of tokens away.

    Args:
        words: The nearest words of n tokens.
        carriers: For each token, the row numbers of the items that carry it.
        texts: For each item, the words of its text, in the form of `plain`.
    """
    forms = [[plain(word) for word in row] for row in words.words]
    hits = np.full(words.neighbours.ids.shape, np.nan)
    used = [row for row, items in enumerate(carriers) if len(items)]
    bags = {row: frozenset().union(*(texts[item] for item in carriers[row])) for row in used}
    own_shares, other_shares = [], []
    for position, row in enumerate(used):
        columns = [column for column, form in enumerate(forms[row]) if form]
        if not columns:
            continue
        hits[row, columns] = [forms[row][column] in bags[row] for column in columns]
        other_bag = bags[used[(position + len(used) // 2) % len(used)]]
        own_shares.append(float(hits[row, columns].mean()))
        other_shares.append(sum(forms[row][column] in other_bag for column in columns) / len(columns))
    # With a single used token the "other" token would be itself, so there is no yardstick.
    if not own_shares or len(used) < 2:
        return WordAgreement(hits, float("nan"), float("nan"), 0)
    return WordAgreement(hits, float(np.mean(own_shares)), float(np.mean(other_shares)), len(own_shares))
