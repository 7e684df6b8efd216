"""The tables and remarks that `gti evaluate` prints, no wider than 80 columns unless all figures are asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.evaluation.options import main_cutoff
from gti_cli.tables.cold_start.cold_splits import describe_taken_out

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest

_LEADING = 4  # figures that fit 80 columns, with their intervals
_LONGEST_HEADING = 11  # characters of an interval
# Metrics in the order of the columns.
_KINDS = (
    *("recall", "ndcg", "hit_rate", "precision_good", "precision_maybe"),
    *("mrr", "coverage", "novelty"),
)


def print_metrics(manifest: Manifest, *, wide: bool = False) -> None:
    """Print the metrics of an evaluation, and remarks that a reader needs to interpret them.

    Args:
        manifest: Manifest of the evaluation.
        wide: Print all metrics, not only the four that `leading_metrics` chooses.
    """
    counts, metrics = manifest.counts, manifest.metrics
    subjects = "queries" if "queries" in counts else "users"
    scores, intervals = _scores(manifest), {_own_name(manifest): metrics["intervals"]}
    intervals |= metrics.get("baseline_intervals", {})
    total = f" of {counts['evaluated'] + counts['not_drawn']:,}, drawn by seed" if counts.get("not_drawn") else ""
    cold = " whose target is held out" if "held_out_items" in manifest.options else ""
    title = (
        f"{counts['evaluated']:,} {subjects}{total}{cold}, {counts['catalogue']:,} items "
        f"({counts['semantic_ids']:,} semantic IDs), {manifest.options['split']} part, {_searched(counts)}"
    )
    available = list(metrics["metrics"])
    if wide:
        names = all_metrics(available)
        cells = [_cells(values, intervals.get(method, {}), names, " ") for method, values in scores.items()]
        console.table(title, ["metric", *scores], [[name, *row] for name, *row in zip(names, *cells, strict=True)])
        console.say("Behind each figure: the 95 % bootstrap interval of the mean.")
    else:
        names = leading_metrics(available, manifest.options["k"], subjects)
        console.table(
            title,
            ["method", *map(_heading, names)],
            [[method, *_cells(values, intervals.get(method, {}), names, "\n")] for method, values in scores.items()],
        )
        console.say("Below each figure: the 95 % bootstrap interval of the mean.")
        console.say("More figures, and slices: --wide, or metrics.json.")
    if metrics.get("other_targets"):
        _print_other_targets(manifest, names)
    if metrics.get("without"):
        _print_without(metrics["without"], names)
    for baseline, report in metrics["tuning"].items():
        print_tuning(baseline, report)
    for line in _remarks(manifest, subjects):
        console.say(line)


def _searched(counts: Mapping[str, Any]) -> str:
    """What was ranked: the beams of a search, or the lists of a blend."""
    return f"{counts['beams']} beams" if "beams" in counts else f"lists of {counts['list_length']}"


def _print_other_targets(manifest: Manifest, names: Sequence[str]) -> None:
    """Print the figures of users whose target is not held out, beside which those of cold starts are to be read."""
    figures = manifest.metrics["other_targets"]
    scores = {_own_name(manifest): figures["metrics"], **dict(sorted(figures["baselines"].items()))}
    intervals = {_own_name(manifest): figures["intervals"], **figures["baseline_intervals"]}
    shown = [name for name in names if name in figures["metrics"]]
    console.table(
        f"The other {manifest.counts['other_targets']:,} targets, which are not held out",
        ["method", *map(_heading, shown)],
        [[method, *_cells(values, intervals[method], shown, "\n")] for method, values in scores.items()],
    )


def _print_without(without: Mapping[str, Any], names: Sequence[str]) -> None:
    """Print what each member adds to a blend, by those of the metrics that are compared."""
    compared = [name for name in names if all(name in report["differences"] for report in without.values())]
    rows = []
    for member, report in without.items():
        gains = [report["differences"][name] for name in compared]
        rows.append([member, *(f"{g['difference']:+.4f}\n{g['low']:+.4f} {g['high']:+.4f}" for g in gains)])
    headings = [_heading(name) for name in compared]
    console.table("What each member adds: the blend minus the blend without it", ["member", *headings], rows)


def _remarks(manifest: Manifest, subjects: str) -> list[str]:
    """Return what a reader needs to know about the evaluated users or queries and the search."""
    counts, options = manifest.counts, manifest.options
    lines = []
    if "held_out_test_items" in counts:
        lines.append(f"Cold starts: {describe_taken_out(counts)}.")
    if counts.get("left_out_without_good"):
        lines.append(f"{counts['left_out_without_good']:,} queries have no item of relevance 2 and are left out.")
    if counts.get("queries_cut"):
        lines.append(f"{counts['queries_cut']:,} queries are longer than a prompt can hold and were shortened.")
    if counts.get("widest_beam", 0) > counts.get("beams", 0):
        lines.append(
            f"The search used up to {counts['widest_beam']:,} beams, to replace items that a user has already seen."
        )
    if counts.get("interactions_not_shown"):
        lines.append(
            f"{counts['interactions_not_shown']:,} interactions are older than the {options['history']} items that a "
            "prompt shows."
        )
    if {"users_whose_beam_missed", "semantic_ids_the_beam_missed"} <= counts.keys():
        several = ", all runs together" if manifest.metrics.get("runs") else ""
        lines.append(
            f"The beam alone would have missed {counts['semantic_ids_the_beam_missed']:,} semantic IDs of "
            f"{counts['users_whose_beam_missed']:,} {subjects}{several}."
        )
    if counts.get("targets_in_history"):
        effect = (
            "with --filter-seen no method can recommend them"
            if options.get("filter_seen")
            else "a method that repeats the history finds them"
        )
        lines.append(
            f"{counts['targets_in_history']:,} of {counts['evaluated']:,} targets are items the user already had: "
            f"{effect}."
        )
    if counts.get("lists_shorter_than_k"):
        lines.append(
            f"{counts['lists_shorter_than_k']:,} {subjects} have lists shorter than {options['k'][-1]} items, because "
            "no more items may be recommended to them."
        )
    return lines


def leading_metrics(available: Sequence[str], cutoffs: Sequence[int], subjects: str) -> list[str]:
    """Choose the four metrics that people look for first: a table of them fits 80 columns.

    Args:
        available: Names of the metrics of the evaluation.
        cutoffs: Its cut-offs, ascending.
        subjects: ``users`` or ``queries``.

    Returns:
        At most four names, in the order of `all_metrics`.
    """
    main = main_cutoff(cutoffs)
    first, next_one = cutoffs[0], next((k for k in cutoffs if k > main), main)
    if subjects == "queries":
        wanted = [f"{kind}@{main}" for kind in ("ndcg", "precision_good", "recall")] + ["mrr"]
        wanted += [f"precision_maybe@{main}"]
    else:
        wanted = [
            f"{kind}@{k}" for kind, k in (("recall", main), ("ndcg", main), ("recall", next_one), ("recall", first))
        ]
        wanted += [f"ndcg@{next_one}", f"ndcg@{first}", "mrr"]
    chosen = [name for name in dict.fromkeys(wanted) if name in available][:_LEADING]
    return all_metrics(chosen)


def all_metrics(available: Sequence[str]) -> list[str]:
    """The metrics in the order in which they are printed: by kind, then by cut-off.

    Without ``precision@K``, which is ``recall@K`` divided by K: a user has one target.
    """
    parts = [(name, *name.partition("@")[::2]) for name in available]
    known = [(_KINDS.index(kind), int(k or 0), name) for name, kind, k in parts if kind in _KINDS]
    return [name for _, _, name in sorted(known)]


def print_slices(manifest: Manifest) -> None:
    """Print one metric for each slice: of the model, and of the baselines where the evaluation has them."""
    metrics, subjects = manifest.metrics, "queries" if "queries" in manifest.counts else "targets"
    metric = f"{'ndcg' if subjects == 'queries' else 'recall'}@{main_cutoff(manifest.options['k'])}"
    methods = {
        _own_name(manifest): metrics.get("slices", {}),
        **dict(sorted(metrics.get("baseline_slices", {}).items())),
    }
    for name, bins in metrics.get("slices", {}).items():
        labels = sorted(bins, key=lambda label: int(re.split("[-+]", label)[0]))
        console.table(
            f"{metric} by {name}",
            [name.replace("_", " "), subjects, *methods],
            [
                [label, bins[label][subjects], *(slices[name][label][metric] for slices in methods.values())]
                for label in labels
            ],
        )


def _own_name(manifest: Manifest) -> str:
    """What the row of the evaluated model is called."""
    runs = manifest.metrics.get("runs", {})
    return f"mean of {len(runs)} runs" if runs else manifest.name.removeprefix("evaluation/")


def _scores(manifest: Manifest) -> dict[str, Mapping[str, float]]:
    """The metrics of each row of the table."""
    metrics = manifest.metrics
    runs = metrics.get("runs", {})
    # Sorted, because a manifest that is read from its file has sorted keys.
    scores = {**dict(sorted(runs.items())), _own_name(manifest): metrics["metrics"]}
    if runs:
        scores["standard deviation"] = metrics["spread"]
    return scores | dict(sorted(metrics["baselines"].items()))


def _heading(metric: str) -> str:
    """A metric's name as the heading of a column, a long one on two lines."""
    return metric if len(metric) <= _LONGEST_HEADING else metric.replace("_", "\n_", 1)


def _cells(
    scores: Mapping[str, float], intervals: Mapping[str, Sequence[float]], names: Sequence[str], between: str
) -> list[str]:
    """Return the cells of one method: the figures, each with its interval if there is one, and ``between`` the two."""
    ends = {name: between + "–".join(map(_short, intervals[name])) for name in names if name in intervals}
    return [_short(scores[name]) + ends.get(name, "") for name in names]


def _short(value: float) -> str:
    """A figure with four digits and without a leading zero, as four columns with intervals must fit 80 characters."""
    return f"{value:.4f}".removeprefix("0") if abs(value) < 1 else f"{value:.4f}"


def print_tuning(baseline: str, report: Mapping[str, Any]) -> None:
    """Print how a baseline was tuned, in one line."""
    tried = report["settings_tried"]
    settings = tried if isinstance(tried, int) else len(tried)
    values = ", ".join(f"{name} {value:g}" for name, value in report["chosen"].items())
    console.say(
        f"{baseline}: the best of {settings} settings by NDCG@10 on {report['held_out_targets_used']:,} of "
        f"{report['held_out_targets']:,} held-out items: {values}."
    )


def print_differences(manifest: Manifest) -> None:
    """Print the differences of a comparison, with intervals and p-values."""
    own_name, other = manifest.options["compare"]
    console.table(
        f"{own_name} minus {other}, n = {manifest.counts['users']:,}: 95 % bootstrap intervals, sign-flip test",
        ["metric", "difference", "from", "to", "p"],
        [
            [metric, *(test[key] for key in ("difference", "low", "high", "p"))]
            for metric, test in manifest.metrics.items()
        ],
    )
