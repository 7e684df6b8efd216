"""What baselines are tuned on, and how they stand in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.baselines import run as methods
from gti_cli.baselines import sasrec_tuning
from gti_cli.baselines.item_knn import Neighbourhood
from gti_cli.baselines.item_knn_tuning import tune
from gti_cli.baselines.run import Setting, evaluate_baselines, hold_out_last
from gti_cli.baselines.sasrec import Size
from gti_cli.baselines.sasrec_tuning import SizeSearch
from gti_cli.baselines.setting_search import TuningOutcome
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.tables.histories import History, read_interactions, split
from gti_cli.tensors.vector_file import write_vectors
from tests.support.evaluation import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def setting(world: World, part: str) -> Setting:
    row_of = {item: row for row, item in enumerate(world.item_ids)}
    splits = split(read_interactions(world.interactions, row_of))
    entries = splits.test if part == "test" else splits.valid
    return Setting(splits, part, entries, row_of, [3, 5], False, 0, torch.device("cpu"), world.workspace / "cache")


def with_embeddings(given: Setting, seed: int = 0) -> Setting:
    vectors = np.random.default_rng(seed).normal(size=(len(given.row_of), 4)).astype(np.float32)
    path = given.cache.with_name("embeddings.safetensors")
    write_vectors(path, vectors.shape, [vectors])
    return replace(given, embeddings=path)


@pytest.mark.parametrize("part", ["test", "valid"])
def test_nothing_is_tuned_on_what_is_reported(world: World, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Mapping[str, list[str]], Sequence[History]]] = []

    def watched(
        train: Mapping[str, list[str]], held_out: Sequence[History], *more: Any, **named: Any
    ) -> TuningOutcome[Neighbourhood]:
        seen.append((train, held_out))
        return tune(train, held_out, *more, **named)

    monkeypatch.setattr(methods, "tune", watched)
    given = setting(world, part)
    evaluate_baselines(["item-knn"], given)
    ((train, held_out),) = seen
    cut = {"test": 2, "valid": 3}[part]  # test and validation item, and for validation the last training item
    for entry in held_out:
        items = [f"i{row}" for row in world.histories[entry.user_id]]
        place = len(items) - cut if len(items) > 2 else len(items) - 1
        assert (entry.items, entry.target) == (items[:place], items[place])
        assert train[entry.user_id] == items[:place]
    reported = {(entry.user_id, len(entry.items)) for entry in given.entries}
    assert len(held_out) > 5 and not reported & {(entry.user_id, len(entry.items)) for entry in held_out}


def test_nothing_to_tune_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    given = setting(world, "test")
    given = replace(given, splits=replace(given.splits, valid=[]))
    outcome = evaluate_baselines(["popularity", "item-knn", "content-knn", "sasrec"], with_embeddings(given))
    assert set(outcome.results) == {"popularity", "item-knn (untuned)", "content-knn (untuned)"}
    assert outcome.tuning == {} and set(outcome.left_out) == {"item-knn", "content-knn", "sasrec"}
    told = capsys.readouterr().err
    assert (
        "the tuned item-knn is left out: there are no held-out items" in told and "warning: sasrec is left out" in told
    )


def test_content_knn_needs_embeddings(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = evaluate(world.interactions, world.workspace, k=[5])
    assert "content-knn is left out: the workspace has no embeddings" in capsys.readouterr().err
    assert set(manifest.metrics["baselines"]) == {"popularity", "item-knn (untuned)", "item-knn"}
    assert (
        list(manifest.details["baselines_left_out"]) == ["content-knn"] and manifest.counts["baselines_left_out"] == 1
    )


def test_content_knn_is_tuned_and_evaluated_once_for_its_embeddings(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = with_embeddings(setting(world, "test"))
    first = evaluate_baselines(["content-knn"], given)
    assert set(first.results) == {"content-knn"} and first.left_out == {}
    assert first.tuning["content-knn"]["held_out_targets"] == len(given.splits.valid)
    monkeypatch.setattr(methods, "rank_all_items", None)
    assert evaluate_baselines(["content-knn"], given).tuning == first.tuning
    with pytest.raises(TypeError):  # It is made again, by what is None.
        evaluate_baselines(["content-knn"], with_embeddings(given, seed=1))


def test_a_setting_at_the_edge_of_its_grid_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    report = {"chosen": {"window": 20, "decay": 0.5}, "at_edge": ["window"]}
    methods.warn_of_edges("item-knn", report)
    assert "item-knn: the best of its settings is the last that was tried: window 20" in capsys.readouterr().err
    methods.warn_of_edges("item-knn", {"chosen": {"window": 20}})  # A report of an older version says nothing.
    assert capsys.readouterr().err == ""


def test_slices_of_baselines(world: World) -> None:
    manifest = evaluate(world.interactions, world.workspace, k=[3, 5])
    slices = manifest.metrics["baseline_slices"]
    assert set(slices) == set(manifest.metrics["baselines"])
    for name, of_baseline in slices.items():
        for label, bins in of_baseline.items():
            assert bins.keys() == manifest.metrics["slices"][label].keys()
            counts = [of_bin["targets"] for of_bin in bins.values()]
            mean = sum(of_bin["targets"] * of_bin["recall@5"] for of_bin in bins.values()) / sum(counts)
            assert mean == pytest.approx(manifest.metrics["baselines"][name]["recall@5"])


def test_sasrec_on_request_and_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    search = SizeSearch(Size(4, 0.1, length=4), {"hidden": (4, 8), "length": (4,)}, 2)
    monkeypatch.setattr(sasrec_tuning, "SEARCH", search)
    first = evaluate(world.interactions, world.workspace, k=[5], baselines=["sasrec"], name="a")
    assert set(first.metrics["baselines"]) == {"sasrec"}
    assert set(first.metrics["baselines"]["sasrec"]) == set(first.metrics["metrics"])
    assert len(first.metrics["tuning"]["sasrec"]["settings_tried"]) == 2
    assert first.options["baselines"] == ["sasrec"]
    monkeypatch.setattr(sasrec_tuning, "train_network", None)  # a second evaluation trains nothing
    again = evaluate(world.interactions, world.workspace, k=[5], baselines=["sasrec"], name="b", filter_seen=False)
    assert again.metrics == first.metrics


def test_baselines_are_evaluated_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given = setting(world, "test")
    first = evaluate_baselines(["popularity", "item-knn"], given)
    monkeypatch.setattr(methods, "rank_all_items", None)
    again = evaluate_baselines(["item-knn", "popularity"], given)
    assert again.tuning == first.tuning and {n: one.metrics for n, one in again.results.items()} == {
        n: one.metrics for n, one in first.results.items()
    }
    for changed in ({"ks": [3]}, {"filter_seen": True}, {"entries": given.entries[1:]}, {"part": "valid"}):
        with pytest.raises(TypeError):  # it is made again, by what is None
            evaluate_baselines(["popularity"], replace(given, **changed))  # type: ignore[arg-type]


def test_intervals_hold_the_means(world: World) -> None:
    manifest = evaluate(world.interactions, world.workspace, k=[3, 5])
    intervals = manifest.metrics["baseline_intervals"]
    assert set(intervals) == set(manifest.metrics["baselines"])
    for name, bounds in intervals.items():
        for metric, (low, high) in bounds.items():
            assert low <= manifest.metrics["baselines"][name][metric] <= high
    assert intervals["item-knn"]["recall@5"][0] < intervals["item-knn"]["recall@5"][1]


def test_the_last_training_item_is_held_out() -> None:
    remaining, held_out = hold_out_last({"a": ["x", "y", "z"], "b": ["x"]})
    assert remaining == {"a": ["x", "y"], "b": ["x"]}
    assert held_out == [History("a", ["x", "y"], "z")]


def test_held_out_items(world: World) -> None:
    """They are skipped in histories by what learns from interactions; new ones are what content-knn is tuned on."""
    plain = with_embeddings(setting(world, "test"))
    cold = list(plain.splits.valid[:2])
    given = replace(plain, others=plain.entries[:3], cold_valid=cold, hidden=frozenset([plain.entries[0].items[-1]]))
    assert given.cache_key(given.entries) != plain.cache_key(plain.entries) != plain.cache_key(plain.entries[1:])
    (popularity,), _ = methods.fit_baseline("popularity", given)
    assert given.hide("popularity", popularity) is popularity
    untuned = methods.fit_baseline("item-knn", given)[0][0]
    assert plain.hide("item-knn", untuned) is untuned
    history = [given.row_of[item] for item in plain.entries[0].items]
    hidden = {given.row_of[item] for item in given.hidden}
    shown = [row for row in history if row not in hidden]
    kept = [row for row in given.row_of.values() if row not in hidden]
    expected = untuned.scores([shown])[0] if shown else np.full(len(given.row_of), -np.inf)
    assert (given.hide("item-knn", untuned).scores([history])[0, kept] == expected[kept]).all()
    outcome = evaluate_baselines(["content-knn", "popularity"], given)
    assert outcome.tuning["content-knn"]["held_out_targets"] == 2
    assert len(outcome.others["popularity"].values["mrr"]) == 3
    again = evaluate_baselines(["content-knn", "popularity"], given)
    assert again.others["content-knn"].metrics == outcome.others["content-knn"].metrics
    # The same targets as the main ones have the same figures.
    same = evaluate_baselines(["popularity"], replace(plain, entries=plain.entries[:3]))
    assert same.results["popularity"].values["mrr"].tolist() == outcome.others["popularity"].values["mrr"].tolist()
