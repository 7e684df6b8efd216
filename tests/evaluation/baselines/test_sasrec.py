"""sasrec: what it can see, that it learns order, that it repeats itself, and that it is not trained twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.evaluation.baselines import sasrec_training
from gti_cli.evaluation.baselines.base import rank_targets
from gti_cli.evaluation.baselines.popularity import Popularity
from gti_cli.evaluation.baselines.sasrec import Network, SASRec, Size
from gti_cli.evaluation.baselines.sasrec_training import Budget, Question, fit, pieces, states_of, tuned_sasrec
from gti_cli.evaluation.metrics.ranking import ndcg_at
from gti_cli.tables.histories import History

CPU = torch.device("cpu")
ITEMS = 12
ROW_OF = {f"i{n}": n for n in range(ITEMS)}
SMALL = Size(hidden=16, dropout=0.1, length=6)


def test_a_state_depends_on_what_came_before_it_alone() -> None:
    torch.manual_seed(0)
    network = Network(ITEMS, SMALL).eval()
    rows = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 9, 9]])
    states = network(rows, torch.tensor([5, 5]))
    torch.testing.assert_close(states[0, :3], states[1, :3])
    assert (states[0, 3] - states[1, 3]).abs().max() > 1e-3


def test_what_fills_a_batch_changes_nothing_and_only_the_last_items_count() -> None:
    torch.manual_seed(0)
    model = SASRec(Network(ITEMS, SMALL))
    alone, among = model.scores([[3, 4]])[0], model.scores([[3, 4], [1, 2, 3, 4, 5, 6]])[0]
    np.testing.assert_allclose(alone, among, atol=1e-6)
    long = [7, 1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(model.scores([long])[0], model.scores([long[-SMALL.length :]])[0], atol=1e-6)


def test_every_item_but_the_first_is_a_target_once() -> None:
    train = {f"u{n}": [f"i{(n + step) % ITEMS}" for step in range(n)] for n in range(1, 30)}
    for length in (1, 4, 7, 50):
        found = pieces(train, ROW_OF, length)
        assert all(2 <= len(piece) <= length + 1 for piece in found)
        assert sum(len(piece) - 1 for piece in found) == sum(len(items) - 1 for items in train.values())


def sequences(users: int) -> tuple[dict[str, list[str]], list[History]]:
    """The next item follows from the last two in their order; all items are equally popular."""
    rng = np.random.default_rng(6)
    train, held_out = {}, []
    for user in range(users):
        rows = rng.integers(0, ITEMS, 2).tolist()
        while len(rows) < 8:
            rows.append((2 * rows[-1] - rows[-2] + 1) % ITEMS)
        items = [f"i{row}" for row in rows]
        train[f"u{user}"] = items[:-1]
        held_out.append(History(f"u{user}", items[:-1], items[-1]))
    return train, held_out


def question(users: int, seed: int = 0) -> Question:
    train, held_out = sequences(users)
    return Question(train, train, held_out, ROW_OF, filter_seen=False, seed=seed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[SASRec, dict[str, object], Path]:
    folder = tmp_path_factory.mktemp("cache")
    grid = (Size(32, 0.0, length=6), Size(2, 0.5, blocks=1, length=6))
    model, report = tuned_sasrec(question(300), folder, CPU, grid, Budget(25, 8, 32, 5e-3))
    return model, report, folder


def test_it_learns_order_where_popularity_cannot(trained: tuple[SASRec, dict[str, object], Path]) -> None:
    model, report, _ = trained
    asked = question(300)
    found = [
        ndcg_at(rank_targets(baseline, asked.held_out, ROW_OF, filter_seen=False, k=10)[0], 10).mean()
        for baseline in (model, Popularity(asked.train, ROW_OF))
    ]
    assert found[0] > 0.8 > found[1] + 0.2
    assert found[0] == pytest.approx(report["ndcg@10"])
    assert report["chosen"] == {"hidden": 32, "dropout": 0.0, "blocks": 2, "length": 6}
    assert len(report["settings_tried"]) == 2  # type: ignore[arg-type]


def test_it_is_not_trained_twice(
    trained: tuple[SASRec, dict[str, object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, report, folder = trained
    calls = []
    monkeypatch.setattr(sasrec_training, "fit", lambda *_, **__: calls.append(1) or (Network(ITEMS, SMALL), 1, 0.5))
    grid = (Size(32, 0.0, length=6), Size(2, 0.5, blocks=1, length=6))
    again, known = tuned_sasrec(question(300), folder, CPU, grid, Budget(25, 8, 32, 5e-3))
    assert not calls and known == report
    np.testing.assert_array_equal(again.scores([[1, 2, 3]]), model.scores([[1, 2, 3]]))
    tuned_sasrec(question(300, seed=1), folder, CPU, grid, Budget(25, 8, 32, 5e-3))
    assert len(calls) == 2  # another seed is another question
    stored = next(
        file for file in folder.glob("*.safetensors") if json.loads(file.with_suffix(".json").read_text()) == report
    )
    stored.write_bytes(stored.read_bytes()[:50])
    tuned_sasrec(question(300), folder, CPU, grid, Budget(25, 8, 32, 5e-3))
    assert len(calls) == 4  # what cannot be read is trained again


def test_same_seed_same_weights_and_another_seed_others() -> None:
    train, _ = sequences(40)
    runs = [
        fit(pieces(train, ROW_OF, 6), ITEMS, SMALL, Budget(epochs=2), held=None, seed=seed, device=CPU)[0]
        for seed in (1, 1, 2)
    ]
    first, same, other = (run.items.weight.detach() for run in runs)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_it_is_trained_again_on_what_was_held_out(tmp_path: Path) -> None:
    train, _ = sequences(60)
    less = {user: items[:-1] for user, items in train.items()}
    held = [History(user, items[:-1], items[-1]) for user, items in train.items()]
    asked = Question(train, less, held, ROW_OF, filter_seen=False, seed=0)
    model, report = tuned_sasrec(asked, tmp_path, CPU, (SMALL,), Budget(4, 4, 16))
    assert report["trained_again_on_all"] is True
    expected, _, _ = fit(
        pieces(train, ROW_OF, 6), ITEMS, SMALL, Budget(int(report["epochs"]), 4, 16), held=None, seed=0, device=CPU
    )
    np.testing.assert_array_equal(model.scores([[1, 2]]), SASRec(expected).scores([[1, 2]]))


def test_the_states_of_a_step_are_those_of_each_history_alone() -> None:
    torch.manual_seed(0)
    network = Network(ITEMS, SMALL).eval()
    rng = np.random.default_rng(3)
    batch = [rng.integers(0, ITEMS, length).tolist() for length in rng.integers(2, 8, 40)]
    states, targets = states_of(network, batch, CPU)
    found = {
        (int(target), tuple(state.tolist())) for state, target in zip(states.round(decimals=4), targets, strict=True)
    }
    wanted = set()
    for rows in batch:
        alone = network(torch.tensor([rows[:-1]]), torch.tensor([len(rows) - 1]))[0]
        wanted |= {(row, tuple(state.tolist())) for state, row in zip(alone.round(decimals=4), rows[1:], strict=True)}
    assert len(targets) == sum(len(rows) - 1 for rows in batch)
    assert len(found & wanted) > 0.98 * len(wanted)  # a figure that lies on the edge of rounding may fall either way
