"""Biases of the targets of a batch, against a search's biases target by target."""

from __future__ import annotations

import numpy as np
import torch

from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.decoding.prior_bias import PriorTrie, code_bias
from gti_cli.decoding.trie import build_trie
from gti_cli.priors.item_knn_prior import ItemKnnPrior, LeaveOneOut
from gti_cli.priors.training_prior import TrainingPrior
from gti_cli.training.batches.history_examples import HistoryExample, history_examples

CPU = torch.device("cpu")
SIZES = [4, 3, 5]  # The levels differ in width.
ITEMS, MAX_HISTORY = 15, 4
RNG = np.random.default_rng(0)
CODES = np.stack([RNG.integers(0, size, ITEMS) for size in SIZES], axis=1).astype(np.int32)
SEQUENCES = [RNG.integers(0, ITEMS, RNG.integers(2, 12)).tolist() for _ in range(12)]
TRIE = build_trie(CODES)
RANGES = PriorTrie(TRIE, SIZES, CPU)


def prior_of(sequences: list[list[int]]) -> ItemKnnPrior:
    names = {str(row): row for row in range(ITEMS)}
    train = {str(user): [str(row) for row in items] for user, items in enumerate(sequences)}
    # Without normalisation a count without a user is the whole count of the others.
    settings = Neighbourhood(window=3, last=3, normalisation=0.0)
    return ItemKnnPrior.of(ItemKNN(train, names, settings))


COUNTED = prior_of(SEQUENCES)
PRIOR = TrainingPrior(LeaveOneOut(COUNTED, SEQUENCES), TRIE, RANGES)


def expected_bias(prior: ItemKnnPrior, history: list[int], target: int) -> np.ndarray:
    """(L, K) biases behind one history, on the path to one target."""
    masses = RANGES.masses(prior.masses([history]))
    expected = np.zeros((len(SIZES), max(SIZES)), dtype=np.float32)
    for level, node in enumerate(TRIE.paths(TRIE.leaf_of_row[[target]])[:-1]):
        bias = code_bias(RANGES, masses, level, torch.zeros(1, dtype=torch.long), torch.from_numpy(node))
        expected[level, : SIZES[level]] = bias[0].numpy()
    return expected


def test_each_target_gets_the_bias_behind_its_own_history_without_its_own_user() -> None:
    of_users = [history_examples(items, MAX_HISTORY, user=user) for user, items in enumerate(SEQUENCES)]
    examples = [example for of_user in of_users for example in of_user]
    assert len(examples) > len(SEQUENCES)  # Some users have several.
    rows = [examples[:1], examples[1:6], examples[6:]]
    most = max(sum(example.target_count for example in row) for row in rows)
    actual = PRIOR.biases(rows, most).numpy()
    assert actual.shape == (3, most, 1, 3, 5)
    for number, row in enumerate(rows):
        expected = []
        for example in row:
            others = prior_of([items for user, items in enumerate(SEQUENCES) if user != example.user])
            for place in range(example.first_target, len(example.items)):
                expected.append(expected_bias(others, list(example.items[:place]), example.items[place]))
        empty = most - len(expected)
        assert not actual[number, :empty].any()
        np.testing.assert_allclose(actual[number, empty:, 0], expected, atol=1e-5)


def test_a_user_who_was_not_counted_gets_the_bias_of_a_search() -> None:
    examples = [HistoryExample((3, 5, 7), 2), HistoryExample((1, 1), 1)]
    actual = PRIOR.biases([[example] for example in examples], 1).numpy()[:, 0, 0]
    expected = [expected_bias(COUNTED, list(e.items[:-1]), e.items[-1]) for e in examples]
    np.testing.assert_array_equal(actual, expected)
