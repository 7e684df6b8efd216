"""`gti evaluate CKPT CKPT …`: one method trained several times (with several seeds), its mean and its spread.

The command calls `evaluate_several`, which evaluates each checkpoint, and then `summarise`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gti_cli import tables
from gti_cli.blends.stored_blend import blend_name
from gti_cli.decoding.search_parts import EXACT_COUNTS
from gti_cli.errors import InputError, list_some
from gti_cli.evaluation.cold_start import split_of_all
from gti_cli.evaluation.compare import in_order_of, key_columns, metric_columns, read_values_table, table_name
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.evaluation.options import EvaluateKeywords
from gti_cli.evaluation.plan import find_ids_and_checkpoint
from gti_cli.evaluation.plot import remove_pictures
from gti_cli.metrics.intervals import intervals
from gti_cli.metrics.slices import slice_means, table_slices
from gti_cli.options import RunOptions, pick
from gti_cli.workspace import StageRun, Workspace, check_output_name, write_json
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from typing_extensions import Unpack

Floats = npt.NDArray[np.float64]

_MUST_MATCH = (
    *("split", "k", "search", "beams", "history", "filter_seen"),
    *("sample", "sample_seed", "baselines", "duplicates", "held_out_items"),
)
_OF_BASELINES = ("baselines", "tuning", "baseline_intervals", "baseline_slices")  # equal in all runs


def evaluate_several(
    checkpoints: Sequence[str],
    interactions: Path | str | None = None,
    workspace: Path | str = Path("gti-workspace"),
    *,
    queries: Path | str | None = None,
    base: str | None = None,
    name: str | None = None,
    **keywords: Unpack[EvaluateKeywords],
) -> tuple[list[Manifest], str]:
    """Evaluate each checkpoint under its own name.

    Args:
        checkpoints: At least two, of different names.
        interactions: As for `gti_cli.evaluation.evaluate.evaluate`.
        workspace: Folder of the workspace.
        queries: As for `gti_cli.evaluation.evaluate.evaluate`.
        base: As for `gti_cli.evaluation.evaluate.evaluate`.
        name: Name of the summary (None: made from the first checkpoint's name).
        **keywords: As for `gti_cli.evaluation.evaluate.evaluate`.

    Returns:
        The manifests, and the name of the summary for `summarise`.

    Raises:
        InputError: When two checkpoints have one name, the summary has the name of an evaluation of one of them, or one
            of them cannot be evaluated.
    """
    names = [Path(checkpoint).name for checkpoint in checkpoints]
    repeated = [own_name for own_name in dict.fromkeys(names) if names.count(own_name) > 1]
    if repeated:
        raise InputError(
            f"several checkpoints are called {list_some(repeated)}", remedy="give each a folder name of its own"
        )
    suffix = "-search" if queries is not None else ""
    name = name or group_name(checkpoints, queries)
    check_output_name(name, default=name)
    if name in [own_name + suffix for own_name in names]:
        raise InputError(
            f"--name {name!r} is the evaluation of a single checkpoint", remedy="give the summary another name"
        )
    for checkpoint in checkpoints:  # A misspelt name is refused before the first checkpoint is searched.
        if blend_name(Workspace(workspace), checkpoint) is None:
            find_ids_and_checkpoint(Workspace(workspace), checkpoint, base)
    if keywords.get("hold_out_items"):
        split_of_all(Workspace(workspace), checkpoints)
    try:
        runs = [
            evaluate(interactions, workspace, queries=queries, checkpoint=checkpoint, base=base, **keywords)
            for checkpoint in checkpoints
        ]
    except InputError as error:
        # An evaluation that exists with other data advises another --name, which here names the summary alone.
        error.remedy = (error.remedy or "").replace("another --name or --workspace", "another --workspace") or None
        raise
    return runs, name


def group_name(checkpoints: Sequence[str], queries: Path | str | None) -> str:
    """The default name of the summary."""
    return f"{Path(checkpoints[0]).name}-and-{len(checkpoints) - 1}-more{'-search' if queries is not None else ''}"


def summarise(
    runs: Sequence[Manifest], workspace: Path | str, name: str, **keywords: Unpack[EvaluateKeywords]
) -> Manifest:
    """Compute mean and spread over evaluations of the same users or queries.

    Writes ``evaluation/NAME``. Its ``metrics.json`` has ``metrics`` (means), ``spread`` (standard deviation over the
    runs, n - 1 in the denominator), ``runs`` (each run's metrics), ``intervals`` (of the mean: users or queries are
    resampled, runs are not) and the baselines. Its table has each user's or query's mean over the runs in the columns
    of a single evaluation, so that ``--compare`` can read it.

    Args:
        runs: At least two manifests from `evaluate`.
        workspace: Folder of the workspace.
        name: Name of the summary.
        **keywords: Those of `gti_cli.options.RunOptions` are used.

    Raises:
        InputError: When the runs are of different users or queries, or have different options.
    """
    run_options, space = pick(RunOptions, keywords), Workspace(workspace)
    names = [run.name.removeprefix("evaluation/") for run in runs]
    for option in _MUST_MATCH:
        if len({str(run.options.get(option)) for run in runs}) > 1:
            raise InputError(
                f"{list_some(names)} were evaluated with different {option}", remedy="evaluate all in the same way"
            )
    artifact = f"evaluation/{name}"
    shared_options = {option: runs[0].options[option] for option in _MUST_MATCH if option in runs[0].options}
    with space.stage(
        "evaluate",
        artifact,
        [artifact],
        options={"runs": names, **shared_options},
        upstream={run.name: run for run in runs},
        seed=run_options.seed,
        force=run_options.force,
        resume=run_options.resume,
    ) as stage:
        if not stage.done:
            table, values = _means(space, runs, names)
            keys = key_columns(table)
            owners = table.column(keys[0]).to_pylist()
            stage.metrics.update(
                _mean_and_spread({run_name: run.metrics["metrics"] for run_name, run in zip(names, runs, strict=True)}),
                intervals={key: list(ends) for key, ends in intervals(values, owners, seed=run_options.seed).items()},
                **{key: runs[0].metrics.get(key, {}) for key in _OF_BASELINES},
                slices=slice_means(values, table_slices(table), "queries" if "query_id" in keys else "targets"),
            )
            if all("other_targets" in run.metrics for run in runs):
                stage.metrics["other_targets"] = _other_targets(runs, names)
            stage.counts.update({key: value for key, value in runs[0].counts.items() if _is_equal_in(runs, key)})
            stage.counts.update(_sum_exact_counts(runs), runs=len(runs))
            remove_pictures(space, artifact)
            _write(stage, stage.path(artifact), table, values, space.path(runs[0].name) / "baselines")
    return stage.result()


def _write(stage: StageRun, folder: Path, table: pa.Table, values: Mapping[str, Floats], baselines: Path) -> None:
    """Write the summary.

    Args:
        stage: Has the metrics and counts.
        folder: Where to write; made here.
        table: The table of the first run.
        values: The columns in which the summary differs from it.
        baselines: The tables of the first run's baselines, which are those of all; may be missing.
    """
    folder.mkdir(parents=True)
    if baselines.is_dir():
        shutil.copytree(baselines, folder / "baselines")
    write_json(folder / "metrics.json", {**stage.metrics, "counts": stage.counts})
    columns = {key: table.column(key) for key in table.column_names if key not in values}
    tables.write(folder / table_name(table), {**columns, **values})


def _other_targets(runs: Sequence[Manifest], names: Sequence[str]) -> dict[str, Any]:
    """Mean and spread of the figures of targets that are not held out; an interval needs the users' values."""
    figures = [run.metrics["other_targets"] for run in runs]
    of_runs = {name: one["metrics"] for name, one in zip(names, figures, strict=True)}
    baselines = {key: figures[0][key] for key in ("baselines", "baseline_intervals")}
    return {**_mean_and_spread(of_runs), "intervals": {}, **baselines}


def _is_equal_in(runs: Sequence[Manifest], key: str) -> bool:
    """Whether a count is the same in all runs."""
    return all(run.counts.get(key) == runs[0].counts[key] for run in runs)


def _sum_exact_counts(runs: Sequence[Manifest]) -> dict[str, int]:
    """The counts of exact searches, summed over the runs: they differ between runs, and a mean would be no count."""
    return {key: sum(run.counts[key] for run in runs) for key in EXACT_COUNTS if all(key in run.counts for run in runs)}


def _mean_and_spread(metrics_of: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Compute ``metrics`` (mean), ``spread`` (standard deviation) and ``runs`` from the metrics of each run."""
    first = next(iter(metrics_of.values()))
    columns = {name: np.asarray([metrics[name] for metrics in metrics_of.values()]) for name in first}
    return {
        "metrics": {name: float(column.mean()) for name, column in columns.items()},
        "spread": {name: float(column.std(ddof=1)) for name, column in columns.items()},
        "runs": {run_name: dict(metrics) for run_name, metrics in metrics_of.items()},
    }


def _means(space: Workspace, runs: Sequence[Manifest], names: Sequence[str]) -> tuple[pa.Table, dict[str, Floats]]:
    """Average the tables of all runs, row by row.

    Returns:
        The first run's table without its columns of ranks, which are not averaged, and each metric's mean over the
        runs.
    """
    run_tables = [read_values_table(space, run) for run in runs]
    first = run_tables[0]
    keys = key_columns(first)
    ordered = [in_order_of(first, table, keys, [names[0], name]) for table, name in zip(run_tables, names, strict=True)]
    columns = [metric_columns(table) for table in ordered]
    values = {name: np.mean([of_run[name] for of_run in columns], axis=0) for name in columns[0]}
    rank_columns = [name for name in ("items_ahead", "items_tied") if name in first.column_names]
    return first.drop_columns(rank_columns), values
