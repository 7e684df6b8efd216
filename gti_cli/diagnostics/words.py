"""The pretrained words nearest to each new token, and whether the texts of the items that carry it use them."""

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
from gti_cli.tensors.safetensors_rows import TensorPlace

WORDS = 10  # nearest words of each token
_BETWEEN = re.compile(r"[\W_]+")  # all that is neither letter nor digit
_WORK = 5e10  # multiply-adds that a search may cost; beyond, an even part of the vocabulary is searched


@dataclass(frozen=True)
class NearestWords:
    """The k nearest pretrained tokens of each of n new ones.

    Attributes:
        neighbours: ids and cosines (n, k). searched: how many pretrained rows were compared.
        words: n lists of k, as people read them.
    """

    neighbours: Neighbours
    searched: int
    words: list[list[str]]


@dataclass(frozen=True)
class Agreement:
    """How often the nearest words occur in the texts of the items that carry a token.

    Attributes:
        hits: (n, k) float, 1 where the word occurs, 0 where not, NaN where there is no text or the word has no letters.
        mean: over tokens that items carry. chance: the same words looked up in the texts of other tokens.
        tokens: how many tokens were compared.
    """

    hits: npt.NDArray[np.float64]
    mean: float
    chance: float
    tokens: int


def nearest_words(
    new: npt.NDArray[np.float32],
    place: TensorPlace,
    pretrained: npt.NDArray[np.int64],
    vocabulary: Vocabulary | None,
    *,
    mean: npt.NDArray[np.float32] | None = None,
    work: float = _WORK,
) -> NearestWords:
    """Search the rows ``pretrained`` (p,) of the matrix at ``place`` for the nearest to ``new`` (n, d), by cosine.

    ``mean`` (d,), the mean pretrained row, is taken off both sides first: rows of a vocabulary share a direction that
    has no meaning and would otherwise decide, so that every token had the same few words for neighbours. The matrix is
    read in blocks and never held. Where the search would cost more than ``work`` multiply-adds, an even part of the
    vocabulary is searched; ``searched`` says how many rows that were.
    """
    ids = pretrained[evenly(len(pretrained), max(WORDS, int(work / (len(new) * new.shape[1]))))]
    centre = np.zeros(new.shape[1], dtype=np.float32) if mean is None else mean
    blocks = ((part, rows - centre) for part, rows in place.blocks(ids, 4096))
    neighbours = nearest(new - centre, blocks, WORDS)
    known: dict[int, str] = {
        int(token): vocabulary.word(int(token)) if vocabulary else f"id {token}" for token in np.unique(neighbours.ids)
    }
    return NearestWords(neighbours, len(ids), [[known[token] for token in row] for row in neighbours.ids.tolist()])


@lru_cache(maxsize=1 << 18)
def plain(word: str) -> str:
    """A word as it is compared: lower case, nothing but letters and digits; ``""`` where it has no two letters."""
    kept = _BETWEEN.sub("", word.lower())
    letters = len(kept) if kept.isalpha() else sum(map(str.isalpha, kept))
    return kept if letters >= 2 else ""


class TextWords:
    """The words (tokens of a tokenizer) of every item's text; kept, as checkpoints mostly share a tokenizer."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = list(texts)
        self._known: dict[str, list[frozenset[str]]] = {}

    def of(self, vocabulary: Vocabulary) -> list[frozenset[str]]:
        """For each item the set of its text's words by ``vocabulary``, as `plain` writes them."""
        key = hashlib.sha256(vocabulary.tokenizer.to_str().encode()).hexdigest()
        if key not in self._known:
            encoded = vocabulary.tokenizer.encode_batch(self._texts, add_special_tokens=False)
            forms = {token: plain(vocabulary.word(token)) for token in {i for item in encoded for i in item.ids}}
            self._known[key] = [frozenset(forms[i] for i in item.ids) - {""} for item in encoded]
        return self._known[key]


def agreement(
    found: NearestWords, carriers: Sequence[npt.NDArray[np.int64]], texts: Sequence[frozenset[str]]
) -> Agreement:
    """Look the nearest words of each token up in the texts of its ``carriers`` (item rows).

    The mean alone says little, as texts share words: ``chance`` is the mean over the same words against the texts of a
    token half the list away.
    """
    forms = [[plain(word) for word in row] for row in found.words]
    hits = np.full(found.neighbours.ids.shape, np.nan)
    held = [row for row, items in enumerate(carriers) if len(items)]
    bags = {row: frozenset().union(*(texts[item] for item in carriers[row])) for row in held}
    mine, others = [], []
    for place, row in enumerate(held):
        asked = [column for column, form in enumerate(forms[row]) if form]
        if not asked:
            continue
        hits[row, asked] = [form in bags[row] for form in (forms[row][column] for column in asked)]
        other = bags[held[(place + len(held) // 2) % len(held)]]
        mine.append(float(hits[row, asked].mean()))
        others.append(sum(forms[row][column] in other for column in asked) / len(asked))
    if not mine or len(held) < 2:
        return Agreement(hits, float("nan"), float("nan"), 0)
    return Agreement(hits, float(np.mean(mine)), float(np.mean(others)), len(mine))
