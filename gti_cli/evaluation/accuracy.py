"""The figures that the pictures of an evaluation show: each method over the cut-offs, and in slices, with intervals.

They are computed from the tables of a finished evaluation, without a model and without the input tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.baselines.results import baseline_table_path
from gti_cli.evaluation.compare import in_order_of, key_columns, metric_columns, read_values_table
from gti_cli.evaluation.options import main_cutoff
from gti_cli.metrics.intervals import intervals
from gti_cli.metrics.ranking import TargetRanks, averages, ndcg_at, recall_at
from gti_cli.metrics.slices import SLICES, table_slices
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]

_EVERY = 20  # Curves have every cut-off up to this one.


@dataclass(frozen=True)
class Accuracy:
    """Means of one method, over all users or queries or over those of a slice.

    Attributes:
        means: The mean of each metric, such as ``recall@7``.
        ends: Lower and upper end of its 95 % bootstrap interval. Empty where a method has no interval.
        count: Number of targets or queries.
    """

    means: Mapping[str, float]
    ends: Mapping[str, tuple[float, float]]
    count: int


@dataclass(frozen=True)
class EvaluationFigures:
    """What the pictures of an evaluation show.

    Attributes:
        cutoffs: The cut-offs that were evaluated, ascending.
        methods: The evaluated model first, then its baselines. Where the users' ranks are known, `Accuracy.means` has
            ``recall@K`` and ``ndcg@K`` for each of `drawn_cutoffs`, else for the evaluated cut-offs.
        runs: Each run of a group of seeds; empty for a single checkpoint.
        slices: By slice, bin and method. A method without a table has no figures in slices.
        sliced: The metric of the slices.
    """

    cutoffs: Sequence[int]
    methods: Mapping[str, Accuracy]
    runs: Mapping[str, Accuracy]
    slices: Mapping[str, Mapping[str, Mapping[str, Accuracy]]]
    sliced: str


def drawn_cutoffs(cutoffs: Sequence[int]) -> list[int]:
    """The cut-offs at which curves are drawn where ranks are known.

    Args:
        cutoffs: The evaluated cut-offs, ascending.

    Returns:
        Every K up to 20, then every fifth, up to the largest evaluated one, and all evaluated ones.
    """
    last = cutoffs[-1]
    return sorted({*range(1, min(last, _EVERY) + 1), *range(_EVERY + 5, last + 1, 5), *cutoffs})


def read_figures(space: Workspace, manifest: Manifest) -> EvaluationFigures:
    """Compute the figures of a finished evaluation from its tables.

    Args:
        space: The workspace.
        manifest: Manifest of the evaluation.

    Returns:
        The figures. At the evaluated cut-offs they are those of ``metrics.json``.
    """
    cutoffs = manifest.options["k"]
    table = read_values_table(space, manifest)
    keys = key_columns(table)
    owners = table.column(keys[0]).to_pylist()
    metric = f"{'ndcg' if keys == ['query_id'] else 'recall'}@{main_cutoff(cutoffs)}"
    runs = _values_of_runs(space, manifest, table)
    values = _values_of_methods(space, manifest, table, runs)
    # Intervals have the seed that the stage used, so that they are those of ``metrics.json``: 0 for everything but the
    # mean over several runs.
    seeds = {next(iter(values)): manifest.seed if "runs" in manifest.metrics else 0}
    slices = {
        name: {label: _slice_accuracy(values, metric, owners, mask) for label, mask in bins.items()}
        for name, bins in table_slices(table).items()
    }
    return EvaluationFigures(
        cutoffs,
        {method: _accuracy(columns, owners, seeds.get(method, 0)) for method, columns in values.items()},
        {run: Accuracy(averages(columns), {}, len(owners)) for run, columns in runs.items()},
        {**_stored_slices(manifest, metric), **slices},
        metric,
    )


def _values_of_methods(
    space: Workspace, manifest: Manifest, table: pa.Table, runs: Mapping[str, Mapping[str, Floats]]
) -> dict[str, dict[str, Floats]]:
    """(U,) values of each metric, of the model and of each baseline that has a table."""
    cutoffs = manifest.options["k"]
    values = _curve_values(table, cutoffs)
    if runs:
        metrics = next(iter(runs.values()))
        values = {name: np.mean([of_run[name] for of_run in runs.values()], axis=0) for name in metrics}
    methods = {manifest.name.removeprefix("evaluation/"): values}
    for baseline in sorted(manifest.metrics["baselines"]):
        path = baseline_table_path(space.path(manifest.name), baseline)
        if path.is_file():
            methods[baseline] = _curve_values(tables.read(path), cutoffs)
    return methods


def _accuracy(values: dict[str, Floats], owners: Sequence[str], seed: int) -> Accuracy:
    return Accuracy(averages(values), intervals(values, owners, seed=seed), len(owners))


def _slice_accuracy(
    values: Mapping[str, Mapping[str, Floats]], metric: str, owners: Sequence[str], mask: npt.NDArray[np.bool_]
) -> dict[str, Accuracy]:
    """Accuracy of each method on the targets or queries of a slice."""
    inside = [owners[n] for n in np.flatnonzero(mask).tolist()]
    return {method: _accuracy({metric: columns[metric][mask]}, inside, 0) for method, columns in values.items()}


def _stored_slices(manifest: Manifest, metric: str) -> dict[str, dict[str, dict[str, Accuracy]]]:
    """The model's slices of ``metrics.json``: tables of earlier versions do not tell who belongs to some of them."""
    name = manifest.name.removeprefix("evaluation/")
    stored = manifest.metrics.get("slices", {})
    return {
        slice_name: {  # In order of the bins: the keys of a manifest are sorted as text.
            label: {name: Accuracy({metric: part[metric]}, {}, part.get("targets", part.get("queries", 0)))}
            for label, part in sorted(stored[slice_name].items(), key=lambda entry: int(re.split("[-+]", entry[0])[0]))
        }
        for slice_name in SLICES
        if slice_name in stored
    }


def _values_of_runs(space: Workspace, manifest: Manifest, table: pa.Table) -> dict[str, dict[str, Floats]]:
    """Values of each run of a group of seeds, in the order of the group's table; empty where a run has changed."""
    runs = manifest.options.get("runs", [])
    manifests = {run: space.manifest(f"evaluation/{run}") for run in runs}
    values = {}
    for run, own in manifests.items():
        if own is None or own.identity != manifest.upstream.get(own.name):
            return {}
        ordered = in_order_of(table, read_values_table(space, own), key_columns(table), [manifest.name, run])
        values[run] = _curve_values(ordered, manifest.options["k"])
    return values


def _curve_values(table: pa.Table, cutoffs: Sequence[int]) -> dict[str, Floats]:
    """(U,) values of Recall and NDCG at `drawn_cutoffs` if the table tells the users' ranks, else at its own."""
    ranks = _ranks(table, cutoffs[-1])
    if ranks is None:
        return {name: v for name, v in metric_columns(table).items() if name.startswith(("recall@", "ndcg@"))}
    values: dict[str, Floats] = {}
    for k in drawn_cutoffs(cutoffs):
        values[f"recall@{k}"], values[f"ndcg@{k}"] = recall_at(ranks, k), ndcg_at(ranks, k)
    return values


def _ranks(table: pa.Table, k: int) -> TargetRanks | None:
    """The ranks of the targets; None where several items are right, or a row is a mean over several runs."""
    names = table.column_names
    if "query_id" in names:
        return None
    if "items_ahead" in names:
        ahead, ties = (np.asarray(table.column(name).to_numpy()) for name in ("items_ahead", "items_tied"))
        return TargetRanks(ahead, ties)
    values = metric_columns(table)
    return ranks_from_values(values[f"recall@{k}"], values[f"ndcg@{k}"], values["mrr"], k)


def ranks_from_values(recall: Floats, ndcg: Floats, reciprocal: Floats, k: int) -> TargetRanks | None:
    """Recover each target's rank from its metrics at the largest cut-off: tables of baselines hold no ranks.

    A tie of ``t`` items of which ``m`` stand at ranks ``ahead + 1 … ahead + m <= k`` has recall m / t. Its other
    metrics, divided by its recall, are the mean gains of these ``m`` ranks, and no other run of ranks has both.

    Args:
        recall: (U,) Recall@k.
        ndcg: (U,) NDCG@k.
        reciprocal: (U,) expected reciprocal rank, 0 beyond ``k``.
        k: The largest cut-off.

    Returns:
        The ranks, with -1 for targets beyond ``k``; None where the values are not those of one target, but means.
    """
    starts, lengths = np.asarray([(a, m) for a in range(k) for m in range(1, k - a + 1)]).T
    gains = np.stack([1 / np.log2(np.arange(2, k + 2)), 1 / np.arange(1, k + 1)])
    cumulative = np.concatenate([np.zeros((2, 1)), np.cumsum(gains, axis=1)], axis=1)
    means = (cumulative[:, starts + lengths] - cumulative[:, starts]) / lengths  # (2, runs of ranks)
    rows, number = np.unique(np.stack([recall, ndcg, reciprocal], axis=1), axis=0, return_inverse=True)
    ahead, ties = np.full(len(rows), -1, dtype=np.int64), np.ones(len(rows), dtype=np.int64)
    for n, (share, *others) in enumerate(rows.tolist()):
        if share == 0:
            continue
        distance = np.abs(means - np.asarray(others)[:, None] / share).max(axis=0)
        if share < 1:  # Ranks beyond k belong to the tie, so that it reaches k.
            distance[starts + lengths < k] = np.inf
        best = int(distance.argmin())
        if distance[best] > 1e-9:
            return None
        ahead[n], ties[n] = starts[best], round(lengths[best] / share)
    return TargetRanks(ahead[number.ravel()], ties[number.ravel()])
