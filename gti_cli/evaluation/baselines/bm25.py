"""The baseline `bm25` of search: words of the query in the item's text (Robertson & Zaragoza, 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

K1, B = 1.2, 0.75


class BM25:
    """Okapi BM25 with the usual constants, untuned: needs no training queries.

    The score of an item is the sum over the query's words of idf * tf (K1 + 1) / (tf + K1 (1 - B + B length / mean
    length)), idf = log(1 + (N - n + 0.5) / (n + 0.5)) for a word in n of N texts. Items without a word of the query are
    not recommended.

    Args:
        texts: (N,) of the items, in the catalogue's order.
    """

    name = "bm25"

    def __init__(self, texts: Sequence[str]) -> None:
        from scipy import sparse
        from sklearn.feature_extraction.text import CountVectorizer

        # Any run of word characters is a word, single ones too: a size or a model's number may be what is asked for.
        self._words = CountVectorizer(token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
        counts = self._words.fit_transform(texts).tocsr()
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        seen_in = np.bincount(counts.indices, minlength=counts.shape[1])
        idf = np.log1p((len(texts) - seen_in + 0.5) / (seen_in + 0.5))
        longer = np.repeat(1 - B + B * lengths / max(lengths.mean(), 1e-12), np.diff(counts.indptr))
        weights = idf[counts.indices] * counts.data * (K1 + 1) / (counts.data + K1 * longer)
        self._weights = sparse.csr_matrix((weights, counts.indices, counts.indptr), shape=counts.shape).T.tocsr()

    def scores(self, queries: Sequence[str]) -> Floats:
        """(Q, N); -inf: none of the query's words."""
        asked = self._words.transform(queries)
        found = (asked @ self._weights).toarray()
        return np.where(found > 0, found, -np.inf)
