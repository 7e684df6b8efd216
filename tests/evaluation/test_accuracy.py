"""The figures of the pictures, against ranks and against what the stage has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli.evaluation.accuracy import drawn_cutoffs, ranks_from_values, read_figures
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.evaluation.several_seeds import evaluate_several, summarise
from gti_cli.metrics.ranking import TargetRanks, ndcg_at, recall_at, reciprocal_rank
from gti_cli.workspace import Workspace
from tests.support.evaluation import add_checkpoint, make_world

POPULARITY: Any = {"baselines": ("popularity",)}


@pytest.mark.parametrize("k", [1, 2, 20])
def test_ranks_are_recovered_from_metrics(k: int) -> None:
    pairs = [(ahead, ties) for ahead in range(-1, k + 3) for ties in (*range(1, k + 4), 60)]
    ranks = TargetRanks(*np.asarray(pairs).T)
    found = ranks_from_values(recall_at(ranks, k), ndcg_at(ranks, k), reciprocal_rank(ranks, k), k)
    assert found is not None
    inside = (ranks.ahead >= 0) & (ranks.ahead < k)
    assert (found.ahead[~inside] == -1).all() and (found.ahead[inside] == ranks.ahead[inside]).all()
    # At K = 1 a metric shows how large a tie is only through its share, and that suffices.
    assert (found.ties[inside] == ranks.ties[inside]).all()


def test_means_of_several_runs_are_no_ranks() -> None:
    halves = np.asarray([0.5])
    assert ranks_from_values(np.asarray([1.0]), halves * 0.9, halves, 10) is None


def test_cutoffs_of_curves() -> None:
    assert drawn_cutoffs([3, 5]) == [1, 2, 3, 4, 5]
    assert drawn_cutoffs([10, 33]) == [*range(1, 21), 25, 30, 33]


def test_figures_are_those_of_the_stage_and_slices_add_up(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    space = Workspace(world.workspace)
    manifest = evaluate(world.interactions, world.workspace, k=[2, 5])
    figures = read_figures(space, manifest)
    assert list(figures.methods) == ["finetuned", *sorted(manifest.metrics["baselines"])] and figures.runs == {}
    for method, accuracy in figures.methods.items():
        baseline = method in manifest.metrics["baselines"]
        stored = manifest.metrics["baselines"][method] if baseline else manifest.metrics["metrics"]
        ends = manifest.metrics["baseline_intervals"][method] if baseline else manifest.metrics["intervals"]
        assert len(accuracy.means) == 2 * 5
        for metric in ("recall@2", "recall@5", "ndcg@2", "ndcg@5"):
            assert accuracy.means[metric] == pytest.approx(stored[metric])
            assert accuracy.ends[metric] == pytest.approx(tuple(ends[metric]))
    assert figures.sliced == "recall@5"
    stored_slices = {"finetuned": manifest.metrics["slices"], **manifest.metrics["baseline_slices"]}
    assert set(figures.slices) == set(manifest.metrics["slices"])
    for name, bins in figures.slices.items():
        assert set(bins) == set(manifest.metrics["slices"][name])
        for label, methods in bins.items():
            for method, accuracy in methods.items():
                stored = stored_slices[method][name][label]
                assert accuracy.means["recall@5"] == pytest.approx(stored["recall@5"])
                assert accuracy.count == stored["targets"]

    # The table of an earlier version does not say how popular the targets are.
    path = world.workspace / "evaluation/finetuned/per_user.parquet"
    pq.write_table(pq.read_table(path).drop_columns("target_training_interactions"), path)
    older = read_figures(space, manifest)
    assert older.slices["history_length"] == figures.slices["history_length"]
    popularity = older.slices["target_training_interactions"]
    assert list(popularity) == list(figures.slices["target_training_interactions"])
    for label, methods in popularity.items():
        assert list(methods) == ["finetuned"] and methods["finetuned"].ends == {}
        known = figures.slices["target_training_interactions"][label]["finetuned"]
        assert methods["finetuned"].means == pytest.approx(known.means) and methods["finetuned"].count == known.count


def test_a_group_of_seeds_has_the_curve_of_its_mean_and_of_each_run(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    space = Workspace(world.workspace)
    add_checkpoint(space, space.require("semantic_ids", ""), "other", seed=5)
    runs, name = evaluate_several(["finetuned", "other"], world.interactions, world.workspace, k=[2, 4], **POPULARITY)
    manifest = summarise(runs, world.workspace, name, seed=3)
    figures = read_figures(space, manifest)
    mean = next(iter(figures.methods.values()))
    assert list(figures.runs) == ["finetuned", "other"] and set(mean.means) >= {"recall@1", "recall@3", "ndcg@3"}
    for metric, value in mean.means.items():
        assert value == pytest.approx(np.mean([run.means[metric] for run in figures.runs.values()]))
    for metric in ("recall@2", "ndcg@4"):
        assert mean.ends[metric] == pytest.approx(tuple(manifest.metrics["intervals"][metric]))
    assert manifest.metrics["slices"]["history_length"]
    # A run that was evaluated again no longer belongs to the group: the group's own table has the evaluated cut-offs.
    evaluate(world.interactions, world.workspace, checkpoint="other", k=[3], force=True, **POPULARITY)
    without = read_figures(space, manifest)
    assert without.runs == {}
    assert set(next(iter(without.methods.values())).means) == {"recall@2", "recall@4", "ndcg@2", "ndcg@4"}
