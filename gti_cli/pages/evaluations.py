"""The section on evaluation: models and baselines in one table for each set of users or queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gti_cli.cards.history import public_name
from gti_cli.cards.results import metric_names
from gti_cli.workspace.manifest import Manifest

_CUTOFFS = (5, 10, 20)  # those that stand in the table if they were measured, else the first three
_KINDS = {"interactions": ("recall", "ndcg"), "queries": ("precision_good", "precision_maybe", "ndcg")}
_METRICS = {
    "recall": "Recall",
    "ndcg": "NDCG",
    "precision_good": "Precision (good)",
    "precision_maybe": "Precision (maybe)",
}
_SLICES = {
    "target_training_interactions": "how often training saw the target",
    "history_length": "items before the target",
    "good_items": "good items of the query",
    "query_words": "words of the query",
    "good_items_good_in_training": "good items that are good in training, too",
}
# Options that must agree for figures to be comparable.
_SETTINGS = ("split", "k", "filter_seen", "sample", "sample_seed", "duplicates", "held_out_items")


@dataclass(frozen=True)
class MethodRow:
    """One method in a table.

    Attributes:
        name: The evaluation or the baseline.
        is_baseline: Whether it is a baseline.
        cells: For each column the figure, its interval (None: none) and whether it is the best of the column.
    """

    name: str
    is_baseline: bool
    cells: Sequence[tuple[float | None, Sequence[float] | None, bool]]


@dataclass(frozen=True)
class SliceTable:
    """NDCG for parts of the users or queries.

    Attributes:
        title: What they are divided by.
        parts: Name and number of targets of each part.
        rows: A method and its figure for each part.
    """

    title: str
    parts: Sequence[tuple[str, int | None]]
    rows: Sequence[tuple[str, Sequence[float | None]]]


@dataclass(frozen=True)
class EvaluationGroup:
    """Evaluations on the same users or queries, measured in the same way.

    Attributes:
        title: On what they were evaluated.
        facts: How, in one line.
        manifests: Their manifests.
        columns: Names of the columns.
        rows: Methods, the best first.
        all_columns: Names of all metrics.
        all_rows: The methods with all metrics.
        slices: The metric for parts of the users or queries.
        slice_metric: Which metric that is. The methods are sorted by it.
        main_column: Its place among the columns.
    """

    title: str
    facts: str
    manifests: Sequence[Manifest]
    columns: Sequence[str]
    rows: Sequence[MethodRow]
    all_columns: Sequence[str]
    all_rows: Sequence[MethodRow]
    slices: Sequence[SliceTable]
    slice_metric: str
    main_column: int


def evaluation_groups(manifests: Mapping[str, Manifest]) -> list[EvaluationGroup]:
    """Put evaluations of the same users or queries together.

    Args:
        manifests: All manifests of the workspace by name.
    """
    groups: dict[str, list[Manifest]] = {}
    for manifest in manifests.values():
        if manifest.command == "evaluate" and "metrics" in manifest.metrics:
            groups.setdefault(_key(manifest, manifests), []).append(manifest)
    return [_group(members, manifests) for members in groups.values()]


def _first_run(manifest: Manifest, manifests: Mapping[str, Manifest]) -> Manifest:
    """The evaluation itself, or the first run of a mean over several runs, whose table is that of the mean."""
    runs = [
        manifests[name] for name in manifest.upstream if name in manifests and manifests[name].command == "evaluate"
    ]
    return runs[0] if manifest.options.get("runs") and runs else manifest


def _role(manifest: Manifest) -> str:
    return "queries" if "queries" in manifest.inputs or "queries" in manifest.counts else "interactions"


def _key(manifest: Manifest, manifests: Mapping[str, Manifest]) -> str:
    first = _first_run(manifest, manifests)
    table = first.inputs.get(_role(first), {}).get("sha256", first.name)
    return repr((_role(first), table, [first.options.get(option) for option in _SETTINGS]))


def _group(members: Sequence[Manifest], manifests: Mapping[str, Manifest]) -> EvaluationGroup:
    first = _first_run(members[0], manifests)
    role = _role(first)
    names = metric_names(members)
    columns = _main_columns(names, role)
    best_by = next((name for name in columns if name == "ndcg@10"), columns[-1] if columns else names[0])
    methods = sorted(_methods(members), key=lambda method: (-(method[2].get(best_by) or 0.0), method[0]))
    path = first.inputs.get(role, {}).get("path")
    counts = first.counts
    subjects = f"{counts.get('evaluated', 0):,} {'queries' if role == 'queries' else 'users'}"
    if counts.get("not_drawn"):
        subjects += f" of {counts['evaluated'] + counts['not_drawn']:,}, drawn by seed"
    searches = dict.fromkeys(_search(member) for member in members)
    facts = [f"{first.options.get('split', 'test')} part", subjects, f"{counts.get('catalogue', 0):,} items to rank"]
    facts += ["targets are items that were held out of training"] if "held_out_items" in first.options else []
    facts += ["items of the history left out"] if first.options.get("filter_seen") else []
    return EvaluationGroup(
        title=public_name(path) if path else first.name,
        facts=", ".join([*facts, *filter(None, searches)]),
        manifests=members,
        columns=[_written(name) for name in columns],
        rows=_rows(methods, columns),
        all_columns=names,
        all_rows=_rows(methods, names),
        slices=list(_slice_tables(members, best_by)),
        slice_metric=_written(best_by),
        main_column=columns.index(best_by),
    )


def _search(manifest: Manifest) -> str:
    search, beams = manifest.options.get("search"), manifest.options.get("beams")
    return f"{search} search" + (f" with {beams} beams" if beams else "") if search else ""


def _main_columns(names: Sequence[str], role: str) -> list[str]:
    """The metrics that people look for first, at three cut-offs."""
    measured = sorted({int(name.partition("@")[2]) for name in names if name.startswith("ndcg@")})
    cutoffs = [k for k in measured if k in _CUTOFFS] or measured[:3]
    wanted = [f"{kind}@{k}" for kind in _KINDS[role] for k in cutoffs]
    return [name for name in wanted if name in names] or list(names[:3])


def _written(name: str) -> str:
    kind, at, cutoff = name.partition("@")
    return f"{_METRICS.get(kind, kind)}{at}{cutoff}"


def _methods(members: Sequence[Manifest]) -> Iterator[tuple[str, bool, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield name, whether it is a baseline, metrics and intervals; a baseline that several evaluations have, once."""
    seen = set()
    for member in members:
        name = member.name.removeprefix("evaluation/")
        runs = len(member.metrics.get("runs", {}))
        yield name + (f" (mean of {runs} runs)" if runs else ""), False, member.metrics["metrics"], _ends(member)
        for baseline, metrics in sorted(member.metrics.get("baselines", {}).items()):
            if baseline not in seen:
                seen.add(baseline)
                yield baseline, True, metrics, member.metrics.get("baseline_intervals", {}).get(baseline, {})


def _ends(manifest: Manifest) -> Mapping[str, Any]:
    intervals: Mapping[str, Any] = manifest.metrics.get("intervals", {})
    return intervals


def _rows(
    methods: Sequence[tuple[str, bool, Mapping[str, Any], Mapping[str, Any]]], names: Sequence[str]
) -> list[MethodRow]:
    best = {
        name: max((metrics[name] for _, _, metrics, _ in methods if name in metrics), default=None) for name in names
    }
    return [
        MethodRow(
            method,
            is_baseline,
            [(metrics.get(name), ends.get(name), name in metrics and metrics[name] == best[name]) for name in names],
        )
        for method, is_baseline, metrics, ends in methods
    ]


def _slice_tables(members: Sequence[Manifest], metric: str) -> Iterator[SliceTable]:
    """Yield a table for each way to divide users or queries."""
    kinds = dict.fromkeys(kind for member in members for kind in member.metrics.get("slices", {}))
    for kind in kinds:
        of_members = [(m.name.removeprefix("evaluation/"), m.metrics.get("slices", {}).get(kind, {})) for m in members]
        parts = sorted({part for _, values in of_members for part in values}, key=_first_number)
        sizes = [
            (part, next((v[part].get("targets", v[part].get("queries")) for _, v in of_members if part in v), None))
            for part in parts
        ]
        rows = [(name, [values.get(part, {}).get(metric) for part in parts]) for name, values in of_members if values]
        yield SliceTable(_SLICES.get(kind, kind.replace("_", " ")), sizes, rows)


def _first_number(part: str) -> tuple[int, str]:
    """The order of parts such as ``3-5`` and ``21+``."""
    number = part.rstrip("+").partition("-")[0]
    return (int(number) if number.isdigit() else 0, part)


def comparisons(
    manifests: Mapping[str, Manifest],
) -> list[tuple[str, int, list[tuple[str, float, float, float, float]]]]:
    """Return the paired comparisons: title, number of users, and metric, difference, ends of its interval, p."""
    return [
        (
            " minus ".join(manifest.options["compare"]),
            manifest.counts.get("users", 0),
            [
                (_written(metric), test["difference"], test["low"], test["high"], test["p"])
                for metric, test in manifest.metrics.items()
                if isinstance(test, Mapping) and "difference" in test
            ],
        )
        for manifest in manifests.values()
        if manifest.options.get("compare")
    ]
