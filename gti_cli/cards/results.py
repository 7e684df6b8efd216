"""What a card tells about evaluations: tables with intervals for readers, and the same figures for the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gti_cli.cards.history import DIGEST_LETTERS, public_name
from gti_cli.cards.origin import hub_datasets
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from gti_cli.checkpoints.finding import Checkpoint

_FIRST = ("recall", "ndcg", "mrr", "precision")  # metrics in the order in which they are shown
_TASKS = {"interactions": "Next-item recommendation", "queries": "Item search"}


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as the card shows it.

    Attributes:
        name: Its name below ``evaluation/``.
        task: What was predicted.
        role: ``interactions`` or ``queries``.
        file: Name of the table.
        digest: First letters of the table's SHA-256.
        split: The part of the table.
        evaluated: Number of users or queries.
        settings: How it was evaluated, in words.
        methods: Names of the columns: this model, then the baselines.
        rows: Name of a metric and a cell for each method.
    """

    name: str
    task: str
    role: str
    file: str
    digest: str
    split: str
    evaluated: int
    settings: str
    methods: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


def find_evaluations(space: Workspace, checkpoint: Checkpoint, latest: Manifest | None = None) -> list[Manifest]:
    """List the evaluations of a checkpoint in a workspace, by name.

    Args:
        space: The workspace.
        checkpoint: The checkpoint.
        latest: An evaluation of it. Needed for a checkpoint outside the workspace, whose digest it holds.
    """
    if checkpoint.manifest is None:
        return []
    outside = latest.inputs.get("checkpoint", {}).get("sha256") if latest else None
    return sorted(
        (
            manifest
            for manifest in space.manifests().values()
            if manifest.command == "evaluate" and "metrics" in manifest.metrics
            if (
                checkpoint.artifact
                and manifest.upstream.get(checkpoint.artifact) == checkpoint.manifest.identity
                and "checkpoint" not in manifest.inputs  # else an adapter was evaluated, with this one as its base
            )
            or (outside and manifest.inputs.get("checkpoint", {}).get("sha256") == outside)
        ),
        key=lambda manifest: manifest.name,
    )


def describe_evaluation(manifest: Manifest) -> Evaluation:
    """Make a table of an evaluation's metrics, with the 95 % interval of each where there is one."""
    role = _role(manifest)
    table = manifest.inputs[role]
    columns = {"this model": (manifest.metrics["metrics"], manifest.metrics.get("intervals", {}))}
    intervals = manifest.metrics.get("baseline_intervals", {})
    for name, metrics in sorted(manifest.metrics.get("baselines", {}).items()):
        columns[name] = (metrics, intervals.get(name, {}))
    return Evaluation(
        name=manifest.name.removeprefix("evaluation/"),
        task=_TASKS[role],
        role=role,
        file=public_name(table["path"]),
        digest=table["sha256"][:DIGEST_LETTERS],
        split=str(manifest.options.get("split", "test")),
        evaluated=int(manifest.counts.get("evaluated", 0)),
        settings=_settings(manifest),
        methods=list(columns),
        rows=[
            (metric, [_cell(values.get(metric), ends.get(metric)) for values, ends in columns.values()])
            for metric in metric_names([manifest])
        ],
    )


def hub_results(manifest: Manifest) -> list[EvalResult]:
    """Return the metrics of an evaluation for the hub's ``model-index``; intervals stand in their ``args``."""
    from huggingface_hub import EvalResult

    role = _role(manifest)
    table = manifest.inputs[role]
    intervals = manifest.metrics.get("intervals", {})
    on_hub = hub_datasets({}, [manifest])
    return [
        EvalResult(
            task_type="text-generation",
            task_name=_TASKS[role],
            dataset_type=on_hub[0] if on_hub else role,
            dataset_name=public_name(table["path"]),
            # Evaluations of one table with different settings must not be merged into one.
            dataset_config=manifest.name.removeprefix("evaluation/"),
            dataset_split=str(manifest.options.get("split", "test"))
            + (", held-out items" if "held_out_items" in manifest.options else ""),
            dataset_args={"sha256": table["sha256"][:DIGEST_LETTERS]},
            metric_type=metric,
            metric_name=metric,
            metric_value=manifest.metrics["metrics"][metric],
            metric_args={"interval_95": list(intervals[metric])} if metric in intervals else None,
        )
        for metric in metric_names([manifest])
    ]


def _role(manifest: Manifest) -> str:
    return next(role for role in _TASKS if role in manifest.inputs)


def _settings(manifest: Manifest) -> str:
    """Say in words how an evaluation was done."""
    options = manifest.options
    parts = [f"{options['search']} search" if "search" in options else ""]
    parts += [f"{options['beams']} beams" if options.get("beams") else ""]
    parts += [f"histories of at most {options['history']} items" if options.get("history") else ""]
    parts += ["items of the history left out" if options.get("filter_seen") else ""]
    parts += ["targets are items that were held out of training" if "held_out_items" in options else ""]
    parts += ["a random sample" if options.get("sample") else "", str(options.get("dtype", ""))]
    parts += ["a table that the model was not trained on" if manifest.details.get("other_table") else ""]
    return ", ".join(filter(None, parts))


def _cell(value: float | None, ends: Sequence[float] | None) -> str:
    """Write a figure with its interval."""
    if value is None:
        return "–"
    return f"{value:.4f}" + ("" if ends is None else f" [{ends[0]:.4f}, {ends[1]:.4f}]")


def metric_names(evaluations: Sequence[Manifest]) -> list[str]:
    """List the metrics of evaluations, each once: those that people look for first, and by the size of the cut-off."""
    found = {name for manifest in evaluations for name in manifest.metrics["metrics"]}

    def order(name: str) -> tuple[int, str, int]:
        """Sort by family of the metric, then by cut-off."""
        family, _, cutoff = name.partition("@")
        place = _FIRST.index(family) if family in _FIRST else len(_FIRST)
        return place, family, int(cutoff) if cutoff.isdigit() else 0

    return sorted(found, key=order)
