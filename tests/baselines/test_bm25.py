"""BM25 against its formula as a loop."""

from __future__ import annotations

import math

import numpy as np

from gti_cli.baselines.bm25 import BM25, K1, B

TEXTS = ["red summer dress", "blue dress dress for winter", "coat", "size 8 red red coat with a hood", ""]


def loop(query: str) -> list[float]:
    documents = [text.split() for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for words in documents:
        total = 0.0
        for word in query.split():
            n = sum(word in other for other in documents)
            tf = words.count(word)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            total += idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * len(words) / mean))
        scores.append(total)
    return scores


def test_scores() -> None:
    queries = ["red dress", "8", "red red coat", "nothing known"]
    found = BM25(TEXTS).scores(queries)
    expected = np.array([loop(query) for query in queries])
    np.testing.assert_allclose(np.where(np.isneginf(found), 0, found), expected, atol=1e-12)
    assert (np.isneginf(found) == (expected == 0)).all() and np.isneginf(found[3]).all()


def test_queries_in_a_script_without_spaces() -> None:
    texts = ["红色羊毛夏季连衣裙", "蓝色丝绸冬季大衣", "红色丝绸围巾 Nike", "red scarf"]
    found = BM25(texts).scores(["红色连衣裙", "大衣", "nike 围巾", "scarf", "衬衫"])
    assert found.argmax(axis=1).tolist()[:4] == [0, 1, 2, 3]
    assert np.isneginf(found[4]).all()
    # 红色 is in two texts, 连衣裙 in one: what both have counts less.
    assert found[0, 0] > found[0, 2] > 0
