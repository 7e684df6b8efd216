"""Loops that check whether the histories hold something to learn: popularity, item-knn, Markov, and text alone.

Leave-one-out: the last item of each history is the test, everything before it is known. Items already in a history are
not recommended again (no customer of this shop rents a thing twice).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Scorer = Callable[[Sequence[int]], np.ndarray]


@dataclass(frozen=True)
class Split:
    """Known histories and the item that each of them ends in."""

    known: list[list[int]]
    target: list[int]
    items: int


def leave_one_out(histories: Sequence[Sequence[int]], items: int) -> Split:
    """Hold out the last item of every history."""
    return Split([list(history[:-1]) for history in histories], [history[-1] for history in histories], items)


def popularity_scorer(split: Split) -> Scorer:
    """Score every item by how often the known histories hold it."""
    counts = np.bincount([item for history in split.known for item in history], minlength=split.items).astype(float)
    return lambda history: counts


def knn_scorer(split: Split) -> Scorer:
    """Score by cosine similarity of items over users, summed over the history with newer items weighing more."""
    seen = np.zeros((len(split.known), split.items), dtype=np.float32)
    for user, history in enumerate(split.known):
        seen[user, history] = 1.0
    norms = np.maximum(np.linalg.norm(seen, axis=0), 1e-9)
    similarity = (seen.T @ seen) / np.outer(norms, norms)
    np.fill_diagonal(similarity, 0.0)
    return lambda history: np.asarray(0.8 ** np.arange(len(history))[::-1] @ similarity[list(history)])


def markov_scorer(split: Split) -> Scorer:
    """Score by how often an item directly followed the last one; popularity breaks ties."""
    follows = np.zeros((split.items, split.items), dtype=np.float32)
    for history in split.known:
        np.add.at(follows, (np.array(history[:-1], dtype=int), np.array(history[1:], dtype=int)), 1.0)
    popular = popularity_scorer(split)([])
    return lambda history: np.asarray(follows[history[-1]] + 1e-6 * popular)


def text_vectors(texts: Sequence[str]) -> np.ndarray:
    """TF-IDF vectors of unit length over the words of the texts."""
    documents = [re.findall(r"[a-z]+", text.lower()) for text in texts]
    vocabulary = {word: index for index, word in enumerate(sorted({word for words in documents for word in words}))}
    counts = np.zeros((len(texts), len(vocabulary)))
    for row, words in enumerate(documents):
        np.add.at(counts[row], [vocabulary[word] for word in words], 1.0)
    weights = np.log1p(counts) * np.log(len(texts) / np.count_nonzero(counts, axis=0))
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True))


def text_scorer(split: Split, texts: Sequence[str]) -> Scorer:
    """Score by text alone: what the texts of successors of similar items look like.

    The words of the last items predict the words of the next one (ridge regression over the known histories), so an
    item that nobody has rented yet is scored as well as any other.
    """
    vectors = text_vectors(texts)
    left = np.linalg.svd(vectors, full_matrices=False)[2][:192]
    dense = vectors @ left.T
    before = [(history[:cut], history[cut]) for history in split.known for cut in range(1, len(history))]
    features = np.stack([_context(dense, history) for history, _ in before])
    targets = dense[[item for _, item in before]]
    gram = features.T @ features + 3.0 * np.eye(features.shape[1])
    ridge = np.linalg.solve(gram, features.T @ targets)
    return lambda history: np.asarray(dense @ (_context(dense, history) @ ridge))


def _context(dense: np.ndarray, history: Sequence[int]) -> np.ndarray:
    return np.concatenate([dense[history[-1]], dense[list(history)].mean(axis=0)])


def recall(split: Split, scorer: Scorer, k: int = 10, targets: np.ndarray | None = None) -> float:
    """Share of users whose held-out item is among the k best; with `targets`, of users whose item lies in that mask."""
    hits: list[bool] = []
    for history, target in zip(split.known, split.target, strict=True):
        if targets is not None and not targets[target]:
            continue
        scores = scorer(history).astype(float).copy()
        scores[history] = -np.inf
        # Ties share their ranks: an item that nobody has rented must not win by standing level with many others.
        ahead = np.sum(scores > scores[target]) + (np.sum(scores == scores[target]) - 1) / 2
        hits.append(bool(ahead < k))
    return float(np.mean(hits)) if hits else 0.0


def rare_items(split: Split, at_most: int = 5) -> np.ndarray:
    """Mask of the items that the known histories hold at most so many times."""
    counts = np.bincount([item for history in split.known for item in history], minlength=split.items)
    return np.asarray(counts <= at_most)


def report(histories: Sequence[Sequence[int]], texts: Sequence[str]) -> dict[str, float]:
    """Recall@10 of the four loops over all users, and over those whose held-out item is rarely rented."""
    split = leave_one_out(histories, len(texts))
    rare = rare_items(split)
    by_text = text_scorer(split, texts)
    return {
        "popularity": recall(split, popularity_scorer(split)),
        "item_knn": recall(split, knn_scorer(split)),
        "markov": recall(split, markov_scorer(split)),
        "text": recall(split, by_text),
        "rare_items": float(rare.sum()),
        "rare_targets": float(sum(rare[target] for target in split.target)),
        "rare_item_knn": recall(split, knn_scorer(split), targets=rare),
        "rare_text": recall(split, by_text, targets=rare),
    }
