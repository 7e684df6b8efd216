"""Simple recommenders that check whether the histories can be learned: popularity, item-knn, Markov, and text alone.

The last item of each history is held out; everything before it is training data. Items of a history are not recommended
again, since no customer of this shop rents an item twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Scorer = Callable[[Sequence[int]], np.ndarray]


@dataclass(frozen=True)
class Split:
    """Histories without their last item, and that item.

    Attributes:
        known: Items of each history, the last one left out.
        target: The last item of each history.
        items: Number of items in the catalogue.
    """

    known: list[list[int]]
    target: list[int]
    items: int


def leave_one_out(histories: Sequence[Sequence[int]], items: int) -> Split:
    """Hold out the last item of every history."""
    return Split([list(history[:-1]) for history in histories], [history[-1] for history in histories], items)


def popularity_scorer(split: Split) -> Scorer:
    """Score every item by its number of rentals."""
    counts = np.bincount([item for history in split.known for item in history], minlength=split.items).astype(float)
    return lambda history: counts


def knn_scorer(split: Split) -> Scorer:
    """Score by cosine similarity of items over users, summed over the history; newer items weigh more."""
    seen = np.zeros((len(split.known), split.items), dtype=np.float32)
    for user, history in enumerate(split.known):
        seen[user, history] = 1.0
    norms = np.maximum(np.linalg.norm(seen, axis=0), 1e-9)
    similarity = (seen.T @ seen) / np.outer(norms, norms)
    np.fill_diagonal(similarity, 0.0)
    return lambda history: np.asarray(0.8 ** np.arange(len(history))[::-1] @ similarity[list(history)])


def markov_scorer(split: Split) -> Scorer:
    """Score by how often an item directly followed the history's last one; popularity breaks ties."""
    follows = np.zeros((split.items, split.items), dtype=np.float32)
    for history in split.known:
        np.add.at(follows, (np.array(history[:-1], dtype=int), np.array(history[1:], dtype=int)), 1.0)
    popular = popularity_scorer(split)([])
    return lambda history: np.asarray(follows[history[-1]] + 1e-6 * popular)


def text_vectors(texts: Sequence[str]) -> np.ndarray:
    """Return TF-IDF vectors (texts, words) of unit length."""
    documents = [re.findall(r"[a-z]+", text.lower()) for text in texts]
    vocabulary = {word: index for index, word in enumerate(sorted({word for words in documents for word in words}))}
    counts = np.zeros((len(texts), len(vocabulary)))
    for row, words in enumerate(documents):
        np.add.at(counts[row], [vocabulary[word] for word in words], 1.0)
    weights = np.log1p(counts) * np.log(len(texts) / np.count_nonzero(counts, axis=0))
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True))


def text_scorer(split: Split, texts: Sequence[str]) -> Scorer:
    """Score by text alone: a ridge regression predicts the words of the next item from those of the history.

    An item that nobody has rented yet is scored like any other.
    """
    vectors = text_vectors(texts)
    # 192 directions of the text vectors keep the regression small.
    left = np.linalg.svd(vectors, full_matrices=False)[2][:192]
    dense = vectors @ left.T
    # Every prefix of a history is an example, and the item behind it is its target.
    before = [(history[:cut], history[cut]) for history in split.known for cut in range(1, len(history))]
    features = np.stack([_context(dense, history) for history, _ in before])
    targets = dense[[item for _, item in before]]
    gram = features.T @ features + 3.0 * np.eye(features.shape[1])
    ridge = np.linalg.solve(gram, features.T @ targets)
    return lambda history: np.asarray(dense @ (_context(dense, history) @ ridge))


def _context(dense: np.ndarray, history: Sequence[int]) -> np.ndarray:
    """Features of a history: the vector of its last item, and the mean of all."""
    return np.concatenate([dense[history[-1]], dense[list(history)].mean(axis=0)])


def recall(split: Split, scorer: Scorer, k: int = 10, targets: np.ndarray | None = None) -> float:
    """Compute the share of users whose held-out item is among the k best.

    Args:
        split: Histories and held-out items.
        scorer: Gives the scores of all items for a history.
        k: Length of the lists.
        targets: (items,) bool. Only users whose held-out item is in this mask are counted; None counts all users.
    """
    hits: list[bool] = []
    for history, target in zip(split.known, split.target, strict=True):
        if targets is not None and not targets[target]:
            continue
        scores = scorer(history).astype(float).copy()
        scores[history] = -np.inf
        # Tied items share their mean rank. Otherwise a method that scores all items alike would find every target.
        ahead = np.sum(scores > scores[target]) + (np.sum(scores == scores[target]) - 1) / 2
        hits.append(bool(ahead < k))
    return float(np.mean(hits)) if hits else 0.0


def rare_items(split: Split, at_most: int = 5) -> np.ndarray:
    """Return the mask (items,) of the items with at most so many rentals."""
    counts = np.bincount([item for history in split.known for item in history], minlength=split.items)
    return np.asarray(counts <= at_most)


def report(histories: Sequence[Sequence[int]], texts: Sequence[str]) -> dict[str, float]:
    """Compute Recall@10 of the four recommenders for all users, and for users whose held-out item is rarely rented."""
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
