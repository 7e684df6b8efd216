"""The baseline `bm25` for queries: words of the query in the item's text (Robertson & Zaragoza, 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.tables.words import ONE_CHARACTER_WORDS, any_without_spaces, terms

Floats = npt.NDArray[np.float64]

K1, B = 1.2, 0.75


class BM25:
    """Okapi BM25 with the usual constants; it is not tuned and needs no training queries.

    The score of an item is the sum over the query's words of idf * tf (K1 + 1) / (tf + K1 (1 - B + B length / mean
    length)), with idf = log(1 + (N - n + 0.5) / (n + 0.5)) for a word in n of N texts. Items without a word of the
    query are not recommended.
    """

    name = "bm25"

    def __init__(self, texts: Sequence[str]) -> None:
        """Count the words of the items' texts, (N,) in the catalogue's order."""
        from scipy import sparse
        from sklearn.feature_extraction.text import CountVectorizer

        # Single characters count as words too: a query may name a size or a model number. Where a text has a script
        # without spaces, its character n-grams are the words.
        own: dict[str, Any] = (
            {"analyzer": terms} if any_without_spaces(texts) else {"token_pattern": ONE_CHARACTER_WORDS}
        )
        self._words = CountVectorizer(dtype=np.float64, **own)
        counts = self._words.fit_transform(texts).tocsr()
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        seen_in = np.bincount(counts.indices, minlength=counts.shape[1])
        idf = np.log1p((len(texts) - seen_in + 0.5) / (seen_in + 0.5))
        length_factor = np.repeat(1 - B + B * lengths / max(lengths.mean(), 1e-12), np.diff(counts.indptr))
        weights = idf[counts.indices] * counts.data * (K1 + 1) / (counts.data + K1 * length_factor)
        # A word's weight in an item does not depend on the query, so scoring is one sparse product.
        self._weights = sparse.csr_matrix((weights, counts.indices, counts.indptr), shape=counts.shape).T.tocsr()

    def scores(self, queries: Sequence[str]) -> Floats:
        """(Q, N) scores of all items for each query; -inf where an item has none of the query's words."""
        word_counts = self._words.transform(queries)
        scores = (word_counts @ self._weights).toarray()
        return np.where(scores > 0, scores, -np.inf)
