"""The sections on training: how the new rows start, what grounding changed, what fine-tuning learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gti_cli.html.figures import format_figure
from gti_cli.workspace.manifest import Manifest

_BEFORE = "_before"
# What figures of a grounding are called; all others keep their names.
_TITLES = {
    "held_out_loss": "loss of held-out pairs",
    "loss_to_tokens": "loss, from text to tokens",
    "loss_to_text": "loss, from tokens to text",
    "effective_rank": "effective rank of the new rows",
    "output_effective_rank": "effective rank of the new rows, output head",
    "retrieval@1": "text finds its item, first place",
    "retrieval@10": "text finds its item, first ten",
    "rsa_pearson": "RSA r with the codebooks",
    "rsa_spearman": "RSA rho with the codebooks",
}


def start_row(manifest: Manifest) -> dict[str, Any]:
    """Describe a checkpoint of ``gti extend``."""
    return {
        "name": manifest.name,
        "model": manifest.details.get("model"),
        "start": manifest.details.get("initializer"),
        "tokens": manifest.counts.get("new_tokens"),
        "rank": manifest.metrics.get("new_rows_effective_rank"),
        "share": manifest.metrics.get("new_tokens_share"),
        "kl": manifest.metrics.get("kl_to_base"),
    }


def grounding_rows(manifest: Manifest) -> list[tuple[str, float | None, float | None, float | None]]:
    """Return what grounding changed: title, before, after, and the figure by chance where there is one."""
    metrics = manifest.metrics
    names = [key.removesuffix(_BEFORE) for key in metrics if key.endswith(_BEFORE)]
    order = list(_TITLES)
    names = [name for name in names if name in metrics and not (name == "held_out_loss" and _is_told_twice(metrics))]
    names.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
    return [
        (_title(name), metrics[name + _BEFORE], metrics[name], metrics.get(name.replace("@", "_chance@", 1)))
        if "@" in name
        else (_title(name), metrics[name + _BEFORE], metrics[name], None)
        for name in names
    ]


def _is_told_twice(metrics: dict[str, Any]) -> bool:
    """Whether the loss of all held-out pairs is that of one direction, so that one line is enough."""
    return metrics["held_out_loss"] in (metrics.get("loss_to_tokens"), metrics.get("loss_to_text"))


def _title(name: str) -> str:
    for start, words in (
        ("accuracy_level_", "code of level {} right"),
        ("retrieval_prefix_", "text finds the codes up to number {}"),
    ):
        if name.startswith(start):
            return words.format(name.removeprefix(start))
    return _TITLES.get(name, name.replace("_", " "))


def run_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Say from what a checkpoint was trained, for how long, and where."""
    metrics, counts, run = manifest.metrics, manifest.counts, manifest.run
    start = [name for name in manifest.upstream if name != "semantic_ids"]
    facts = [("Trained from", ", ".join(start) or "–")]
    if counts.get("steps") is not None:
        planned = counts.get("steps_planned", counts["steps"])
        steps = f"{counts['steps']:,}" + (f" of {planned:,}" if planned != counts["steps"] else "")
        facts.append(("Steps", steps))
    if metrics.get("epochs") is not None:
        facts.append(("Passes over the data", format_figure(float(metrics["epochs"]), 2)))
    if metrics.get("learning_rate") is not None:
        facts.append(("Rate of the rows", f"{metrics['learning_rate']:.2g}"))
    if run.get("device"):
        facts.append(("Device", str(run["device"])))
    return facts


def task_rows(manifests: list[Manifest]) -> Iterator[dict[str, Any]]:
    """Yield what fine-tuning learned, one row for each checkpoint and task."""
    for manifest in manifests:
        start = [name for name in manifest.upstream if name != "semantic_ids"]
        tasks = manifest.metrics.get("tasks") or {"–": {}}
        for task, figures in tasks.items():
            yield {
                "name": manifest.name,
                "start": ", ".join(start) or "–",
                "task": task,
                "targets": figures.get("targets_seen"),
                "passes": figures.get("passes"),
                "before": figures.get("valid_loss_before"),
                "after": figures.get("valid_loss"),
                "steps": manifest.counts.get("steps"),
            }
