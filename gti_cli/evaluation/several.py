"""`gti evaluate CKPT CKPT …`: one method trained several times (several seeds), its mean and its spread."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gti_cli import tables
from gti_cli.decoding.parts import EXACT_COUNTS
from gti_cli.errors import InputError, examples
from gti_cli.evaluation.compare import columns_of_metrics, in_order_of, key_columns, table_name
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.evaluation.metrics.intervals import intervals
from gti_cli.evaluation.options import EvaluateKeywords
from gti_cli.evaluation.plan import find_fitting
from gti_cli.options import RunOptions, pick
from gti_cli.workspace import Workspace, check_output_name, write_json
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from typing_extensions import Unpack

Floats = npt.NDArray[np.float64]

_SAME = ("split", "k", "search", "beams", "history", "filter_seen", "sample", "sample_seed", "baselines")


def evaluate_several(
    checkpoints: Sequence[str],
    interactions: Path | str | None = None,
    workspace: Path | str = Path("gti-workspace"),
    *,
    queries: Path | str | None = None,
    name: str | None = None,
    **keywords: Unpack[EvaluateKeywords],
) -> tuple[list[Manifest], str]:
    """Evaluate each checkpoint under its own name; returns the manifests, and the name for `summarise`.

    Args:
        checkpoints: at least two, of different names. name: of the summary (None: made of the first one's).
        interactions, queries, keywords: as for `gti_cli.evaluation.evaluate.evaluate`.

    Raises:
        InputError: two of one name, or anything about one of them; the name is that of one of them.
    """
    names = [Path(checkpoint).name for checkpoint in checkpoints]
    twice = [one for one in dict.fromkeys(names) if names.count(one) > 1]
    if twice:
        raise InputError(
            f"several checkpoints are called {examples(twice)}", remedy="give each a folder name of its own"
        )
    suffix = "-search" if queries is not None else ""
    name = name or group_name(checkpoints, queries)
    check_output_name(name, default=name)
    if name in [one + suffix for one in names]:
        raise InputError(f"--name {name!r} is the evaluation of one of them", remedy="give the summary another name")
    for checkpoint in checkpoints:  # a typo in the last one shows before the first is searched
        find_fitting(Workspace(workspace), checkpoint)
    found = [
        evaluate(interactions, workspace, queries=queries, checkpoint=checkpoint, **keywords)
        for checkpoint in checkpoints
    ]
    return found, name


def group_name(checkpoints: Sequence[str], queries: Path | str | None) -> str:
    """What the summary is called where it is given no name."""
    return f"{Path(checkpoints[0]).name}-and-{len(checkpoints) - 1}-more{'-search' if queries is not None else ''}"


def summarise(
    runs: Sequence[Manifest], workspace: Path | str, name: str, **keywords: Unpack[EvaluateKeywords]
) -> Manifest:
    """Mean and spread over evaluations of the same users or queries.

    Writes ``evaluation/NAME``: ``metrics.json`` with `metrics` (means), `spread` (standard deviation over the runs, n -
    1 in the denominator), `runs` (each), `intervals` (of the mean: users or queries are drawn, runs are not) and the
    baselines; and each user's or query's mean over the runs, as a single evaluation has them, so that ``--compare``
    takes it.

    Args:
        runs: at least two manifests from `evaluate`. keywords: see `gti_cli.options.RunOptions`.

    Raises:
        InputError: they are of other users, queries or options.
    """
    how, space = pick(RunOptions, keywords), Workspace(workspace)
    short = [run.name.removeprefix("evaluation/") for run in runs]
    for option in _SAME:
        if len({str(run.options.get(option)) for run in runs}) > 1:
            raise InputError(
                f"{examples(short)} were evaluated with different {option}", remedy="evaluate all in the same way"
            )
    artifact = f"evaluation/{name}"
    with space.stage(
        "evaluate",
        artifact,
        [artifact],
        options={"runs": short, **{option: runs[0].options[option] for option in _SAME if option in runs[0].options}},
        upstream={run.name: run for run in runs},
        seed=how.seed,
        force=how.force,
        resume=how.resume,
    ) as stage:
        if not stage.done:
            table, values = _means(space, runs, short)
            owners = table.column(key_columns(table)[0]).to_pylist()
            stage.metrics.update(
                _over_runs({one: run.metrics["metrics"] for one, run in zip(short, runs, strict=True)}),
                intervals={key: list(inside) for key, inside in intervals(values, owners, seed=how.seed).items()},
                **{key: runs[0].metrics.get(key, {}) for key in ("baselines", "tuning", "baseline_intervals")},
            )
            stage.counts.update({key: value for key, value in runs[0].counts.items() if _equal(runs, key)})
            stage.counts.update(_searched(runs), runs=len(runs))
            folder = stage.path(artifact)
            folder.mkdir(parents=True)
            if (baselines := space.path(runs[0].name) / "baselines").is_dir():
                shutil.copytree(baselines, folder / "baselines")
            write_json(folder / "metrics.json", {**stage.metrics, "counts": stage.counts})
            tables.write(
                folder / table_name(table),
                {**{key: table.column(key) for key in table.column_names if key not in values}, **values},
            )
    return stage.result()


def _equal(runs: Sequence[Manifest], key: str) -> bool:
    return all(run.counts.get(key) == runs[0].counts[key] for run in runs)


def _searched(runs: Sequence[Manifest]) -> dict[str, int]:
    """What exact searches count, of all runs together: a mean would be no count, and runs seldom agree."""
    return {key: sum(run.counts[key] for run in runs) for key in EXACT_COUNTS if all(key in run.counts for run in runs)}


def _over_runs(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """`metrics` (mean), `spread` (standard deviation) and `runs` from the metrics of each run."""
    first = next(iter(metrics.values()))
    columns = {name: np.asarray([one[name] for one in metrics.values()]) for name in first}
    return {
        "metrics": {name: float(column.mean()) for name, column in columns.items()},
        "spread": {name: float(column.std(ddof=1)) for name, column in columns.items()},
        "runs": {name: dict(one) for name, one in metrics.items()},
    }


def _means(space: Workspace, runs: Sequence[Manifest], names: Sequence[str]) -> tuple[pa.Table, dict[str, Floats]]:
    """The keys of the first run's table (without ranks, which have no mean), and each metric's mean over the runs."""
    read = []
    for run in runs:
        files = [space.path(run.name) / file for file in ("per_user.parquet", "per_query.parquet")]
        read.append(tables.read(next(file for file in files if file.exists())))
    first = read[0]
    keys = key_columns(first)
    ordered = [in_order_of(first, table, keys, [names[0], one]) for table, one in zip(read, names, strict=True)]
    columns = [columns_of_metrics(table) for table in ordered]
    values = {name: np.mean([one[name] for one in columns], axis=0) for name in columns[0]}
    dropped = [name for name in ("items_ahead", "items_tied") if name in first.column_names]
    return first.drop_columns(dropped), values
