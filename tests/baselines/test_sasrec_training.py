"""The training of sasrec: its sequences, the states of a step, its seed, and early stopping."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gti_cli.baselines import sasrec_training
from gti_cli.baselines.base import target_ranks
from gti_cli.baselines.sasrec import Network, SASRec
from gti_cli.baselines.sasrec_training import (
    Budget,
    HeldOutTargets,
    states_and_targets,
    train_network,
    training_sequences,
)
from gti_cli.metrics.ranking import ndcg_at
from tests.support.baselines import SASREC_ITEMS, SASREC_ROW_OF, SMALL, ordered_sequences

CPU = torch.device("cpu")


def test_every_item_but_the_first_is_a_target_once() -> None:
    train = {f"u{n}": [f"i{(n + step) % SASREC_ITEMS}" for step in range(n)] for n in range(1, 30)}
    for length in (1, 4, 7, 50):
        sequences = training_sequences(train, SASREC_ROW_OF, length)
        expected = []
        for items in train.values():
            rows = [SASREC_ROW_OF[item] for item in items]
            expected += [rows[start : start + length + 1] for start in range(0, len(rows) - 1, length)]
        assert list(sequences) == sequences[:] == expected
        assert all(2 <= len(sequence) <= length + 1 for sequence in sequences)
        assert sum(len(sequence) - 1 for sequence in sequences) == sum(len(items) - 1 for items in train.values())


def test_same_seed_same_weights_and_another_seed_others() -> None:
    train, _ = ordered_sequences(40)
    sequences = training_sequences(train, SASREC_ROW_OF, 6)
    runs = [
        train_network(sequences, SASREC_ITEMS, SMALL, Budget(epochs=2), held_out=None, seed=seed, device=CPU)[0]
        for seed in (1, 1, 2)
    ]
    first, same, other = (run.items.weight.detach() for run in runs)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_the_states_of_a_step_are_those_of_each_history_alone() -> None:
    torch.manual_seed(0)
    network = Network(SASREC_ITEMS, SMALL).eval()
    rng = np.random.default_rng(3)
    batch = [rng.integers(0, SASREC_ITEMS, length).tolist() for length in rng.integers(2, 8, 40)]
    states, targets = states_and_targets(network, batch, CPU)
    found = {
        (int(target), tuple(state.tolist())) for state, target in zip(states.round(decimals=4), targets, strict=True)
    }
    expected = set()
    for rows in batch:
        alone = network(torch.tensor([rows[:-1]]), torch.tensor([len(rows) - 1]))[0]
        expected |= {(row, tuple(state.tolist())) for state, row in zip(alone.round(decimals=4), rows[1:], strict=True)}
    assert len(targets) == sum(len(rows) - 1 for rows in batch)
    assert len(found & expected) > 0.98 * len(expected)  # a figure at the edge of rounding may fall either way


def test_a_step_looks_at_the_table_of_items_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = Network(SASREC_ITEMS, SMALL)
    looked: list[int] = []
    network.items.register_forward_hook(lambda *_: looked.append(1))
    batch = [[1, 2, 3]] * (2 * sasrec_training._PADDED_TOGETHER + 1)
    states_and_targets(network, batch, CPU)
    assert len(looked) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_alone_has_the_number_format_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    seen: list[tuple[bool, torch.dtype]] = []

    def loss(states: torch.Tensor, items: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append((torch.is_autocast_enabled("cpu"), states.dtype))
        return (states.sum(1) * items.sum()).sum()

    monkeypatch.setattr(sasrec_training, "loss_dtype", lambda _: dtype)
    monkeypatch.setattr(sasrec_training, "catalogue_loss", loss)
    sequences = training_sequences(ordered_sequences(10)[0], SASREC_ROW_OF, 6)
    train_network(sequences, SASREC_ITEMS, SMALL, Budget(epochs=1), held_out=None, seed=0, device=CPU)
    assert seen and set(seen) == {(dtype == torch.bfloat16, torch.float32)}


def test_ndcg_does_not_depend_on_how_many_users_are_scored_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = Network(SASREC_ITEMS, SMALL)
    rng = np.random.default_rng(1)
    histories = [rng.integers(0, SASREC_ITEMS, 1 + n % 7).tolist() for n in range(30)]
    targets = rng.integers(0, SASREC_ITEMS, 30).tolist()
    monkeypatch.setattr(sasrec_training, "_USERS_AT_ONCE", 7)
    for filter_seen in (False, True):
        ranks = target_ranks(SASRec(network).scores(histories), histories, targets, filter_seen=filter_seen)
        value = HeldOutTargets(histories, targets, filter_seen).ndcg(network)
        assert value == pytest.approx(ndcg_at(ranks, 10).mean()) and 0 < value < 1


def test_the_best_epoch_is_returned_and_patience_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.1, 0.4, 0.3, 0.4, 0.2, 0.9])  # the sixth epoch is never reached
    weights = []

    def ndcg(self: HeldOutTargets, network: Network) -> float:
        weights.append(network.items.weight.detach().clone())
        return next(values)

    monkeypatch.setattr(HeldOutTargets, "ndcg", ndcg)
    train, _ = ordered_sequences(10)
    network, epoch, value = train_network(
        training_sequences(train, SASREC_ROW_OF, 6),
        SASREC_ITEMS,
        SMALL,
        Budget(epochs=9, patience=3),
        held_out=HeldOutTargets([], [], False),
        seed=0,
        device=CPU,
    )
    assert (epoch, value, len(weights)) == (2, 0.4, 5)
    assert torch.equal(network.items.weight, weights[1]) and not torch.equal(weights[1], weights[4])
