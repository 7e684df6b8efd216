"""The tuning of sasrec: that it learns order, that it is not trained twice, and what it is trained on in the end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.baselines import sasrec_tuning
from gti_cli.baselines.base import rank_all_items
from gti_cli.baselines.popularity import Popularity
from gti_cli.baselines.sasrec import Network, SASRec, Size
from gti_cli.baselines.sasrec_training import Budget, train_network, training_sequences
from gti_cli.baselines.sasrec_tuning import SASRecInputs, SizeSearch, tune_sasrec
from gti_cli.metrics.ranking import ndcg_at
from gti_cli.tables.histories import History
from tests.support.baselines import NO_SEARCH, SASREC_ITEMS, SASREC_ROW_OF, SMALL, ordered_sequences, sasrec_inputs

CPU = torch.device("cpu")
SEARCH = SizeSearch(Size(2, 0.0, length=6), {"hidden": (2, 32), "length": (6,)}, 2)
BUDGET = Budget(25, 8, 32, 5e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[SASRec, dict[str, object], Path]:
    folder = tmp_path_factory.mktemp("cache")
    model, report = tune_sasrec(sasrec_inputs(300), folder, CPU, SEARCH, BUDGET)
    return model, report, folder


def test_it_learns_order_where_popularity_cannot(trained: tuple[SASRec, dict[str, object], Path]) -> None:
    model, report, _ = trained
    inputs = sasrec_inputs(300)
    ndcg = [
        ndcg_at(rank_all_items(baseline, inputs.held_out, SASREC_ROW_OF, filter_seen=False, k=10)[0], 10).mean()
        for baseline in (model, Popularity(inputs.train, SASREC_ROW_OF))
    ]
    assert ndcg[0] > 0.8 > ndcg[1] + 0.2
    assert ndcg[0] == pytest.approx(report["ndcg@10"])
    assert report["chosen"] == {"hidden": 32, "dropout": 0.0, "blocks": 2, "length": 6}
    assert [tried["hidden"] for tried in report["settings_tried"]] == [2, 32]  # type: ignore[attr-defined]
    assert report["at_edge"] == ["hidden"] and report["neighbours_all_tried"] is True
    assert report["loss_dtype"] == str(sasrec_tuning.loss_dtype(CPU)).removeprefix("torch.")


def test_it_is_not_trained_twice(
    trained: tuple[SASRec, dict[str, object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, report, folder = trained
    calls = []
    monkeypatch.setattr(
        sasrec_tuning, "train_network", lambda *_, **__: calls.append(1) or (Network(SASREC_ITEMS, SMALL), 1, 0.5)
    )
    again, stored_report = tune_sasrec(sasrec_inputs(300), folder, CPU, SEARCH, BUDGET)
    assert not calls and stored_report == report
    np.testing.assert_array_equal(again.scores([[1, 2, 3]]), model.scores([[1, 2, 3]]))
    tune_sasrec(sasrec_inputs(300, seed=1), folder, CPU, SEARCH, BUDGET)
    assert len(calls) == 2  # another seed has another cache key
    stored = next(
        file for file in folder.glob("*.safetensors") if json.loads(file.with_suffix(".json").read_text()) == report
    )
    stored.write_bytes(stored.read_bytes()[:50])
    tune_sasrec(sasrec_inputs(300), folder, CPU, SEARCH, BUDGET)
    assert len(calls) == 4  # a file that cannot be read is made again


def test_a_search_that_was_stopped_trains_no_network_again_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = SizeSearch(Size(2, 0.0, length=6), {"hidden": (2, 8, 16), "length": (6,)}, 3)
    inputs = sasrec_inputs(60)
    fewer = replace(inputs, tuning_train=dict(list(inputs.train.items())[:-1]))  # so a last training follows
    expected, report = tune_sasrec(fewer, tmp_path / "whole", CPU, search, BUDGET)
    trained, stop_before = [], [2]

    def train(sequences: object, items: int, size: Size, *rest: object, **more: object) -> tuple[Network, int, float]:
        trained.append(size.hidden)
        if len(trained) == stop_before[0]:
            raise KeyboardInterrupt
        return train_network(sequences, items, size, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(sasrec_tuning, "train_network", train)
    for stop in (2, 5):  # in the second network, and in the last training
        stop_before[0] = stop
        with pytest.raises(KeyboardInterrupt):
            tune_sasrec(fewer, tmp_path / "stopped", CPU, search, BUDGET)
        assert list((tmp_path / "stopped").glob("*.unfinished"))
    model, again = tune_sasrec(fewer, tmp_path / "stopped", CPU, search, BUDGET)
    chosen = report["chosen"]["hidden"]
    assert chosen > 2 and trained == [2, 8, 8, 16, chosen, chosen]
    assert again == report and not list((tmp_path / "stopped").glob("*.unfinished"))
    np.testing.assert_array_equal(model.scores([[1, 2, 3]]), expected.scores([[1, 2, 3]]))


def test_it_is_trained_again_on_what_was_held_out(tmp_path: Path) -> None:
    train, _ = ordered_sequences(60)
    without_last = {user: items[:-1] for user, items in train.items()}
    held_out = [History(user, items[:-1], items[-1]) for user, items in train.items()]
    inputs = SASRecInputs(train, without_last, held_out, SASREC_ROW_OF, filter_seen=False, seed=0)
    model, report = tune_sasrec(inputs, tmp_path, CPU, NO_SEARCH, Budget(4, 4, 16))
    assert report["trained_again_on_all"] is True
    expected, _, _ = train_network(
        training_sequences(train, SASREC_ROW_OF, 6),
        SASREC_ITEMS,
        SMALL,
        Budget(int(report["epochs"]), 4, 16),
        held_out=None,
        seed=0,
        device=CPU,
    )
    np.testing.assert_array_equal(model.scores([[1, 2]]), SASRec(expected).scores([[1, 2]]))


def test_the_cache_key_covers_every_input_and_option(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = sasrec_inputs(5)
    shorter = {user: items[:-1] for user, items in inputs.train.items()}
    changed = [
        replace(inputs, train=shorter),
        replace(inputs, tuning_train=shorter),
        replace(inputs, held_out=inputs.held_out[1:]),
        replace(inputs, row_of={**SASREC_ROW_OF, "new": SASREC_ITEMS}),
        replace(inputs, filter_seen=True),
        replace(inputs, seed=1),
    ]
    keys = [one.cache_key(CPU, SEARCH, BUDGET) for one in (inputs, *changed)]
    keys.append(inputs.cache_key(torch.device("cuda"), SEARCH, BUDGET))
    with monkeypatch.context() as other_machine:
        other = {torch.float32: torch.bfloat16, torch.bfloat16: torch.float32}[sasrec_tuning.loss_dtype(CPU)]
        other_machine.setattr(sasrec_tuning, "loss_dtype", lambda _: other)
        keys.append(inputs.cache_key(CPU, SEARCH, BUDGET))
    keys.append(inputs.cache_key(CPU, replace(SEARCH, trainings=1), BUDGET))
    keys.append(inputs.cache_key(CPU, SEARCH, Budget()))
    monkeypatch.setattr(sasrec_tuning, "TARGETS", 3)
    keys.append(inputs.cache_key(CPU, SEARCH, BUDGET))
    assert len(set(keys)) == len(keys)
    assert len(inputs.targets().targets) == 3 < len(inputs.held_out)


def test_report_states_the_limit_of_epochs_after_the_best_setting_was_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets = []

    def train_network(*arguments: object, **_: object) -> tuple[Network, int, float]:
        budgets.append(arguments[3].epochs)  # type: ignore[attr-defined]
        return Network(SASREC_ITEMS, SMALL), 3, 0.5

    monkeypatch.setattr(sasrec_tuning, "train_network", train_network)
    inputs = sasrec_inputs(300)
    fewer = replace(inputs, tuning_train=dict(list(inputs.train.items())[:-1]))
    _, report = tune_sasrec(fewer, tmp_path, CPU, SEARCH, BUDGET)
    assert budgets == [25, 25, 3]  # Both sizes are as good, so the search stays at the first.
    assert (report["at_most_epochs"], report["epochs"]) == (25, 3)


def test_lengths_beyond_the_longest_sequence_are_not_tried() -> None:
    search = SizeSearch(Size(length=50), {"length": (10, 20, 50, 100, 200)}, 9)
    assert search.within(60).grid["length"] == (10, 20, 50, 100) and search.within(60).start.length == 50
    assert search.within(15).grid["length"] == (10, 20) and search.within(15).start.length == 20
    assert search.within(999).grid["length"] == search.grid["length"]


def test_the_default_search_starts_inside_its_grid() -> None:
    for name, values in sasrec_tuning.SEARCH.grid.items():
        assert values[0] < getattr(sasrec_tuning.SEARCH.start, name) < values[-1]
