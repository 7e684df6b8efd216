"""`gti evaluate --compare OTHER`: two evaluations of one workspace, user by user or query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gti_cli import console, tables
from gti_cli.errors import InputError
from gti_cli.evaluation.baselines.cache import Floats, plain, table_of
from gti_cli.evaluation.metrics.intervals import LEVEL, PERMUTATIONS, RESAMPLES, differences
from gti_cli.evaluation.options import BASELINES
from gti_cli.options import check_seed
from gti_cli.workspace import Workspace, write_json
from gti_cli.workspace.manifest import Manifest

_METRICS = ("recall@", "ndcg@", "mrr", "hit_rate@", "precision")
_MUST_MATCH = ("split", "filter_seen", "sample", "sample_seed")
_OF_SEARCH = ("search", "beams", "history", "dtype")


def find_other(space: Workspace, name: str) -> Manifest:
    """The manifest of the evaluation ``name``, its files checked.

    Raises:
        InputError: there is no such evaluation, or its files were edited.
    """
    plain = name.removeprefix("evaluation/")
    return space.require(f"evaluation/{plain}", f"gti evaluate --name {plain}")


def check_other(
    space: Workspace, name: str, baselines: Sequence[str] | None, *, mine: str, options: Mapping[str, Any]
) -> None:
    """Is there, or will there be, what an evaluation is to be compared with?

    Args:
        name: as for `compare`. baselines: that this evaluation will have; None: it is of queries.
        mine: the name of this evaluation. options: its `split`, `filter_seen` and `k`, as its manifest will have them.

    Raises:
        InputError: ``name`` is neither an evaluation of the workspace nor one of the baselines, or it was evaluated
            in another way.
    """
    made = ["popularity", "bm25"] if baselines is None else list(baselines)
    if "item-knn" in made:
        made.append("item-knn-untuned")
    if plain(name) in made and not _is_evaluation(space, name):
        return
    short = [mine, plain(name.removeprefix("evaluation/"))]
    _check_not_itself(short, name)
    if baselines is not None and name in BASELINES and not _is_evaluation(space, name):
        raise InputError(f"--compare {name}: that baseline is not evaluated", remedy=f"add {name} to --baselines")
    theirs = find_other(space, name)
    if ("queries" in theirs.counts) != (baselines is None):
        raise _users_and_queries(short)
    _check_alike(short, [options, theirs.options])


def _check_not_itself(short: Sequence[str], given: str) -> None:
    if short[0] == short[1]:
        raise InputError(f"--compare {given!r} is this evaluation itself", remedy="give the name of another one")


def _check_alike(short: Sequence[str], both: Sequence[Mapping[str, Any]]) -> None:
    """Refuse two evaluations, by their options, that differ in what is measured or have no metric in common."""
    for option in _MUST_MATCH:
        values = [options.get(option) for options in both]
        if values[0] != values[1]:
            raise InputError(
                f"{short[0]!r} was evaluated with {option} {values[0]!r}, {short[1]!r} with {values[1]!r}",
                remedy="evaluate both in the same way",
            )
    cuts = [options["k"] for options in both]
    if not set(cuts[0]) & set(cuts[1]):
        raise InputError(
            f"{short[0]!r} and {short[1]!r} have no metric in common: --k {_listed(cuts[0])} and {_listed(cuts[1])}",
            remedy="evaluate both with a cut-off in common",
        )


def _searched_otherwise(both: Sequence[Mapping[str, Any]]) -> str:
    """The options of the search in which two evaluations differ, with both values; empty if there are none."""
    known = [name for name in _OF_SEARCH if all(name in options for options in both)]
    pairs = {name: [options[name] for options in both] for name in known}
    return ", ".join(f"{name} {one} and {other}" for name, (one, other) in pairs.items() if one != other)


def _listed(cuts: Sequence[int]) -> str:
    return ",".join(map(str, cuts))


def _users_and_queries(short: Sequence[str]) -> InputError:
    return InputError(
        f"one of {short[0]!r} and {short[1]!r} was evaluated on users, the other on queries",
        remedy="evaluate both in the same way",
    )


def compare(
    workspace: Path | str, name: str, other: str, *, seed: int = 0, force: bool = False, resume: bool = True
) -> Manifest:
    """Paired differences of evaluation ``name`` to evaluation ``other``, with intervals and p-values.

    Writes ``evaluation/NAME-vs-OTHER/metrics.json``; ``metrics[METRIC]`` of the manifest has `difference`, `low`,
    `high` and `p`. Metrics that only one of the two has are left out, and
    `mrr` where they end at different ranks.

    Args:
        other: an evaluation of the workspace, or a baseline of this one (``item-knn``); an evaluation of that name goes
            before the baseline.

    Raises:
        InputError: one of them is missing, or they are not of the same users and targets; a seed out of range.
    """
    check_seed(seed)
    space = Workspace(workspace)
    mine = find_other(space, name)
    baseline = None if _is_evaluation(space, other) else _baseline_table(space, mine, other)
    theirs = mine if baseline else find_other(space, other)
    short = [mine.name.removeprefix("evaluation/"), plain(other.removeprefix("evaluation/"))]
    _check_not_itself(short, other)
    _check_alike(short, [mine.options, theirs.options])
    searched = _searched_otherwise([mine.options, theirs.options])
    if searched:
        console.warn(f"{short[0]!r} and {short[1]!r} were searched otherwise, which is in the difference: {searched}")
    artifact = f"evaluation/{short[0]}-vs-{short[1]}"
    with space.stage(
        "evaluate",
        artifact,
        [artifact],
        options={"compare": short, "level": LEVEL, "resamples": RESAMPLES, "permutations": PERMUTATIONS},
        upstream={manifest.name: manifest for manifest in (mine, theirs)},
        seed=seed,
        force=force,
        resume=resume,
    ) as run:
        if not run.done:
            read = [_read(space, mine), tables.read(baseline) if baseline else _read(space, theirs)]
            ours, others, users = _paired(read, short, ends=[max(one.options["k"]) for one in (mine, theirs)])
            found = differences(ours, others, users, seed=seed)
            run.metrics.update({metric: asdict(difference) for metric, difference in found.items()})
            run.counts.update(targets=len(users), users=len(set(users)))
            run.details["searched_otherwise"] = searched
            run.path(artifact).mkdir(parents=True)
            write_json(run.path(artifact) / "metrics.json", {"differences": run.metrics, "counts": run.counts})
    return run.result()


def _is_evaluation(space: Workspace, name: str) -> bool:
    return (space.path("evaluation") / name.removeprefix("evaluation/")).is_dir()


def _baseline_table(space: Workspace, manifest: Manifest, name: str) -> Path | None:
    """The table of the baseline ``name`` of an evaluation, if it has that baseline."""
    path = table_of(space.path(manifest.name), name)
    return path if path.is_file() else None


def _paired(
    both: Sequence[pa.Table], names: list[str], ends: Sequence[int]
) -> tuple[dict[str, Floats], dict[str, Floats], list[str]]:
    """The metrics of two tables, row by row of the same users or queries, and whose rows they are."""
    mine, theirs = both
    keys = key_columns(mine)
    if key_columns(theirs) != keys:
        raise _users_and_queries(names)
    skipped = ["precision@"]  # Recall over K once more: a user has one target
    if len(set(ends)) > 1:
        skipped.append("mrr")  # it ends at the largest K
    ours, others = (columns_of_metrics(table, skipped) for table in (mine, in_order_of(mine, theirs, keys, names)))
    return ours, others, mine.column(keys[0]).to_pylist()


def _read(space: Workspace, manifest: Manifest) -> pa.Table:
    folder = space.path(manifest.name)
    return tables.read(
        next(folder / file for file in ("per_user.parquet", "per_query.parquet") if (folder / file).exists())
    )


def key_columns(table: pa.Table) -> list[str]:
    """The columns that tell its rows apart: a user's several targets differ in the length of the history before them.

    The first of them is what is drawn in a bootstrap.
    """
    return ["query_id"] if "query_id" in table.column_names else ["user_id", "history", "target"]


def table_name(table: pa.Table) -> str:
    """The name of its file."""
    return "per_query.parquet" if "query_id" in table.column_names else "per_user.parquet"


def columns_of_metrics(table: pa.Table, skipped: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Metric -> (U,) float64, without those whose name starts like one of ``skipped``."""
    names = [name for name in table.column_names if name.startswith(_METRICS) and not name.startswith(tuple(skipped))]
    return {name: np.asarray(table.column(name).to_numpy(), dtype=np.float64) for name in names}


def in_order_of(mine: pa.Table, theirs: pa.Table, names_of_keys: list[str], names: list[str]) -> pa.Table:
    """The rows of ``theirs`` in the order of ``mine``, by their keys.

    Raises:
        InputError: they have other rows; ``names`` are those of the two evaluations.
    """
    keys, others = (
        list(zip(*(table.column(name).to_pylist() for name in names_of_keys), strict=True)) for table in (mine, theirs)
    )
    row = {key: number for number, key in enumerate(others)}
    if len(keys) != len(others) or set(keys) != set(row):
        raise InputError(
            f"{names[0]!r} and {names[1]!r} were not evaluated on the same users and targets",
            remedy="evaluate both with the same table and --split",
        )
    return theirs.take([row[key] for key in keys])
