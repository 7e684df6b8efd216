"""`gti evaluate --compare OTHER`: two evaluations of one workspace, compared user by user or query by query.

The command calls `check_other` before an evaluation and `compare` after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gti_cli import console, tables
from gti_cli.baselines.base import EMBEDDINGS
from gti_cli.baselines.results import Floats, baseline_table_path, file_stem
from gti_cli.baselines.run import CONTENT_KNN
from gti_cli.errors import InputError, list_names
from gti_cli.evaluation.options import BASELINES
from gti_cli.metrics.intervals import LEVEL, PERMUTATIONS, RESAMPLES, differences
from gti_cli.options import check_seed
from gti_cli.workspace import Workspace, write_json
from gti_cli.workspace.manifest import Manifest

_METRICS = ("recall@", "ndcg@", "mrr", "hit_rate@", "precision")
_MUST_MATCH = ("split", "filter_seen", "sample", "sample_seed", "duplicates", "held_out_items")
_SEARCH_OPTIONS = ("search", "beams", "history", "dtype")


def find_evaluation(space: Workspace, name: str) -> Manifest:
    """Find the manifest of an evaluation and check its files.

    Raises:
        InputError: When there is no such evaluation, or its files were edited.
    """
    short_name = name.removeprefix("evaluation/")
    if space.manifest(f"evaluation/{short_name}") is None:
        evaluated = {made: manifest for made, manifest in space.manifests().items() if manifest.command == "evaluate"}
        # Comparisons of two evaluations lie beside them.
        there = [
            m.removeprefix("evaluation/") for m, manifest in evaluated.items() if "compare" not in manifest.options
        ]
        baselines = ", ".join(BASELINES)
        raise InputError(
            f"there is no evaluation called {short_name!r} in {space.root}",
            remedy=f"evaluations: {list_names(there) or 'none'}; baselines, where --baselines names them: {baselines}",
        )
    return space.require(f"evaluation/{short_name}", f"gti evaluate --name {short_name}")


def check_other(
    space: Workspace, name: str, baselines: Sequence[str] | None, *, own_name: str, options: Mapping[str, Any]
) -> None:
    """Check, before an evaluation, that it can be compared with another one.

    Args:
        space: The workspace.
        name: The other evaluation, or a baseline, as for `compare`.
        baselines: The baselines that this evaluation will have; None if it is of queries.
        own_name: Name of this evaluation.
        options: Its ``split``, ``filter_seen``, ``sample``, ``sample_seed``, ``duplicates`` (if it drops them) and
            ``k``, as its manifest will have them.

    Raises:
        InputError: When ``name`` is neither an evaluation of the workspace nor one of the baselines, or was evaluated
            with other options.
    """
    available = ["popularity", "bm25"] if baselines is None else list(baselines)
    if name == CONTENT_KNN and name in available and not space.path(EMBEDDINGS).is_file():
        raise InputError(
            f"--compare {name}: the workspace has no embeddings of the items",
            where=str(space.path(EMBEDDINGS)),
            remedy="run 'gti build-ids' again with --force, or compare with another baseline",
        )
    if "item-knn" in available:
        available.append("item-knn-untuned")
    if file_stem(name) in available and not _is_evaluation(space, name):
        return
    names = [own_name, file_stem(name.removeprefix("evaluation/"))]
    _check_not_itself(names, name)
    if baselines is not None and name in BASELINES and not _is_evaluation(space, name):
        raise InputError(f"--compare {name}: that baseline is not evaluated", remedy=f"add {name} to --baselines")
    other = find_evaluation(space, name)
    if ("queries" in other.counts) != (baselines is None):
        raise _mixed_evaluations_error(names)
    _check_options_match(names, [options, other.options])


def _check_not_itself(names: Sequence[str], given: str) -> None:
    if names[0] == names[1]:
        raise InputError(f"--compare {given!r} is this evaluation itself", remedy="give the name of another one")


def _check_options_match(names: Sequence[str], both: Sequence[Mapping[str, Any]]) -> None:
    """Refuse two evaluations, given by their options, that measure different things or have no metric in common."""
    for option in _MUST_MATCH:
        values = [options.get(option) for options in both]
        if values[0] != values[1]:
            raise InputError(
                f"{names[0]!r} was evaluated with {option} {values[0]!r}, {names[1]!r} with {values[1]!r}",
                remedy="evaluate both in the same way",
            )
    cuts = [options["k"] for options in both]
    if not set(cuts[0]) & set(cuts[1]):
        raise InputError(
            f"{names[0]!r} and {names[1]!r} have no metric in common: --k {_join(cuts[0])} and {_join(cuts[1])}",
            remedy="evaluate both with a cut-off in common",
        )


def _warn_of_search_differences(names: Sequence[str], both: Sequence[Mapping[str, Any]]) -> str:
    """The search options in which two evaluations differ, such as ``beams 20 and 7``; empty where they agree."""
    recorded = [name for name in _SEARCH_OPTIONS if all(name in options for options in both)]
    pairs = {name: [options[name] for options in both] for name in recorded}
    found = ", ".join(f"{name} {first} and {second}" for name, (first, second) in pairs.items() if first != second)
    if found:
        console.warn(
            f"{names[0]!r} and {names[1]!r} were searched with different options, and their difference includes the "
            f"effect of that: {found}"
        )
    return found


def _join(cuts: Sequence[int]) -> str:
    return ",".join(map(str, cuts))


def _mixed_evaluations_error(names: Sequence[str]) -> InputError:
    """The error for a comparison of users with queries."""
    return InputError(
        f"one of {names[0]!r} and {names[1]!r} was evaluated on users, the other on queries",
        remedy="evaluate both in the same way",
    )


def compare(
    workspace: Path | str, name: str, other: str, *, seed: int = 0, force: bool = False, resume: bool = True
) -> Manifest:
    """Compute paired differences between two evaluations, with intervals and p-values.

    Writes ``evaluation/NAME-vs-OTHER/metrics.json``. In the manifest, ``metrics[METRIC]`` has ``difference`` (``name``
    minus ``other``), ``low``, ``high`` and ``p``. Metrics that only one of the two has are left out, and so is ``mrr``
    where the two end at different ranks.

    Args:
        workspace: Folder of the workspace.
        name: An evaluation of the workspace.
        other: Another evaluation, or a baseline of this one (``item-knn``). An evaluation goes before a baseline of the
            same name.
        seed: Seed of the bootstrap and the permutation test.
        force: Replace a comparison that was made from other inputs or options.
        resume: Go on with interrupted work.

    Raises:
        InputError: When one of them is missing, they are not of the same users and targets, or the seed is out of
            range.
    """
    check_seed(seed)
    space = Workspace(workspace)
    first = find_evaluation(space, name)
    baseline = None if _is_evaluation(space, other) else _find_baseline_table(space, first, other)
    second = first if baseline else find_evaluation(space, other)
    names = [first.name.removeprefix("evaluation/"), file_stem(other.removeprefix("evaluation/"))]
    _check_not_itself(names, other)
    _check_options_match(names, [first.options, second.options])
    search_differences = _warn_of_search_differences(names, [first.options, second.options])
    artifact = f"evaluation/{names[0]}-vs-{names[1]}"
    with space.stage(
        "evaluate",
        artifact,
        [artifact],
        options={"compare": names, "level": LEVEL, "resamples": RESAMPLES, "permutations": PERMUTATIONS},
        upstream={manifest.name: manifest for manifest in (first, second)},
        seed=seed,
        force=force,
        resume=resume,
    ) as run:
        if not run.done:
            both = [
                read_values_table(space, first),
                tables.read(baseline) if baseline else read_values_table(space, second),
            ]
            largest_cuts = [max(manifest.options["k"]) for manifest in (first, second)]
            first_values, second_values, owners = _pair(both, names, largest_cuts)
            results = differences(first_values, second_values, owners, seed=seed)
            run.metrics.update({metric: asdict(difference) for metric, difference in results.items()})
            run.counts.update(targets=len(owners), users=len(set(owners)))
            run.details["searched_otherwise"] = search_differences
            run.path(artifact).mkdir(parents=True)
            write_json(run.path(artifact) / "metrics.json", {"differences": run.metrics, "counts": run.counts})
    return run.result()


def _is_evaluation(space: Workspace, name: str) -> bool:
    return (space.path("evaluation") / name.removeprefix("evaluation/")).is_dir()


def _find_baseline_table(space: Workspace, manifest: Manifest, name: str) -> Path | None:
    """The table of the baseline ``name`` of an evaluation, if it has that baseline."""
    path = baseline_table_path(space.path(manifest.name), name)
    return path if path.is_file() else None


def _pair(
    both: Sequence[pa.Table], names: list[str], largest_cuts: Sequence[int]
) -> tuple[dict[str, Floats], dict[str, Floats], list[str]]:
    """Bring the metrics of two tables into one order of rows; also returns the user or query of each row."""
    first, second = both
    keys = key_columns(first)
    if key_columns(second) != keys:
        raise _mixed_evaluations_error(names)
    skipped = ["precision@"]  # A user has one target, so this is Recall@K divided by K.
    if len(set(largest_cuts)) > 1:
        skipped.append("mrr")  # Reciprocal ranks end at the largest cut-off.
    first_values, second_values = (
        metric_columns(table, skipped) for table in (first, in_order_of(first, second, keys, names))
    )
    return first_values, second_values, first.column(keys[0]).to_pylist()


def read_values_table(space: Workspace, manifest: Manifest) -> pa.Table:
    """Read the table of an evaluation that has one row for each target or query."""
    folder = space.path(manifest.name)
    return tables.read(
        next(folder / file for file in ("per_user.parquet", "per_query.parquet") if (folder / file).exists())
    )


def key_columns(table: pa.Table) -> list[str]:
    """The columns that identify a row.

    A user's several targets differ in the length of the history before them. The first of the columns, the user or the
    query, is the unit of the bootstrap.
    """
    return ["query_id"] if "query_id" in table.column_names else ["user_id", "history", "target"]


def table_name(table: pa.Table) -> str:
    """The name of the file of a table of users or queries."""
    return "per_query.parquet" if "query_id" in table.column_names else "per_user.parquet"


def metric_columns(table: pa.Table, skipped: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """(U,) float64 values of each metric of a table, without metrics whose name starts like one of ``skipped``."""
    names = [name for name in table.column_names if name.startswith(_METRICS) and not name.startswith(tuple(skipped))]
    return {name: np.asarray(table.column(name).to_numpy(), dtype=np.float64) for name in names}


def in_order_of(first: pa.Table, second: pa.Table, keys: list[str], names: list[str]) -> pa.Table:
    """Bring the rows of the second table into the order of the first.

    Args:
        first: Table of users or queries.
        second: Table of the same users or queries.
        keys: From `key_columns`.
        names: The names of the two evaluations, for the error line.

    Raises:
        InputError: When they have different rows.
    """
    first_rows, second_rows = (
        list(zip(*(table.column(key).to_pylist() for key in keys), strict=True)) for table in (first, second)
    )
    number_of = {row: number for number, row in enumerate(second_rows)}
    if len(first_rows) != len(second_rows) or set(first_rows) != set(number_of):
        raise InputError(
            f"{names[0]!r} and {names[1]!r} were not evaluated on the same users and targets",
            remedy="evaluate both with the same table and --split",
        )
    return second.take([number_of[row] for row in first_rows])
