"""The verdicts of a diagnosis as a table: one line for each matrix, and one explanation for each grade."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gti_cli.cards.results import find_evaluations
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.diagnostics.verdict import EXPLANATIONS
from gti_cli.html.figures import format_figure, format_percent
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

# How pages mark a grade; all others are `middle`. Grades are names here: diagnoses of other versions are shown, too.
_TONES = {"collapsed": "bad", "crowded": "bad", "grounded": "good", "aligned": "good"}
_CUTOFF = 10  # of the metric that stands beside a verdict


@dataclass(frozen=True)
class VerdictRow:
    """The verdict on one matrix as pages show it.

    Attributes:
        name: The checkpoint, with the matrix where input and output differ.
        grade: The verdict.
        tone: ``good``, ``middle`` or ``bad``.
        directions: How many directions the rows use, beside pretrained rows.
        place: How near they lie to pretrained rows, beside what is needed.
        codebooks: How well they follow the codebooks in the level that decides.
        words: How many of their nearest words occur in the texts of their items, beside chance.
        evaluation: What evaluations of the checkpoint found; empty where there is none.
        reason: All figures and thresholds that decided, as one sentence.
        advice: What to do.
    """

    name: str
    grade: str
    tone: str
    directions: str
    place: str
    codebooks: str
    words: str
    evaluation: str
    reason: str
    advice: str


def verdict_rows(metrics: Mapping[str, Any], labels: Sequence[str], evaluations: Mapping[str, str]) -> list[VerdictRow]:
    """Return one row for each matrix.

    Args:
        metrics: The metrics of a diagnosis: figures by label, those of an untied output head under ``output``.
        labels: The labels of the checkpoints, in the order of the rows.
        evaluations: What was found for each label, see `evaluation_sentence`. Labels without evaluation may be missing.
    """
    return [
        VerdictRow(
            name=name,
            grade=figures["verdict"],
            tone=_TONES.get(figures["verdict"], "middle"),
            directions=_directions(figures),
            place=_place(figures),
            codebooks=_codebooks(figures),
            words=_words(figures),
            evaluation=evaluations.get(label, ""),
            reason=figures.get("reason", ""),
            advice=figures.get("advice", ""),
        )
        for label in labels
        for name, figures in _matrices(label, metrics[label])
    ]


def _matrices(label: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and figures of each matrix of a checkpoint."""
    if "output" in figures:
        yield f"{label} (input)", figures
        yield f"{label} (output)", figures["output"]
    else:
        yield label, figures


def _directions(figures: Mapping[str, Any]) -> str:
    rank, reference = figures.get("effective_rank"), figures.get("pretrained_effective_rank")
    return f"{format_figure(rank)} of {format_figure(reference)}"


def _place(figures: Mapping[str, Any]) -> str:
    near, usual = figures.get("nearest_pretrained_cosine_q50"), figures.get("pretrained_nearest_cosine_q05")
    return f"{format_figure(near, 2)} (needs {format_figure(usual, 2)})"


def _codebooks(figures: Mapping[str, Any]) -> str:
    """The correlation that decides the verdict; diagnoses that do not name it have it in one of their levels."""
    if figures.get("deciding_rsa_r") is not None:
        level = figures["deciding_rsa_level"]
        scope = "over all codes" if level is None else f"in level {level}"
        return f"{format_figure(figures['deciding_rsa_r'], 2)} {scope} (p {format_figure(figures['deciding_rsa_p'])})"
    levels = [
        (float(entry["centred_pearson"]), float(entry["centred_p"]), f"level {level}")
        for level, entry in figures.get("rsa_levels", {}).items()
        if entry.get("centred_pearson") is not None and entry.get("centred_p") is not None
    ]
    if not levels:
        overall = figures.get("rsa_pearson")
        return "–" if overall is None else f"{format_figure(overall, 2)} over all codes"
    smallest = min(p for _, p, _ in levels)
    r, p, level = max(entry for entry in levels if entry[1] == smallest)
    return f"{format_figure(r, 2)} in {level} (p {format_figure(p)})"


def _words(figures: Mapping[str, Any]) -> str:
    share = figures.get("word_agreement")
    return (
        "–" if share is None else f"{format_percent(share)} (chance {format_percent(figures['word_agreement_chance'])})"
    )


def evaluation_sentence(space: Workspace, manifest: Manifest | None) -> str:
    """Say what evaluations of a checkpoint found, beside the best baseline; empty where there is none.

    Args:
        space: The workspace of the evaluations.
        manifest: Manifest of the checkpoint. None where no stage of `gti` wrote it.
    """
    found = find_evaluations(space, Checkpoint("", True, manifest, manifest.name)) if manifest is not None else []
    return "; ".join(sentence for evaluation in found if (sentence := _sentence(evaluation)))


def _sentence(evaluation: Manifest) -> str:
    metrics = evaluation.metrics["metrics"]
    name = _ndcg(metrics)
    if name is None:
        return ""
    own = metrics[name]
    scores = {
        baseline: values[name] for baseline, values in evaluation.metrics.get("baselines", {}).items() if name in values
    }
    if not scores:
        return f"{name.upper()} {own:.3f}"
    best = max(scores, key=lambda baseline: (scores[baseline], baseline))
    place = "above" if own > scores[best] else "below" if own < scores[best] else "equal to"
    return f"{name.upper()} {own:.3f}, {place} {best} ({scores[best]:.3f})"


def _ndcg(metrics: Mapping[str, float]) -> str | None:
    """The name of NDCG at the cut-off nearest to `_CUTOFF`; None where no cut-off was measured."""
    cutoffs = [int(name[len("ndcg@") :]) for name in metrics if name.startswith("ndcg@")]
    return f"ndcg@{min(cutoffs, key=lambda cutoff: abs(cutoff - _CUTOFF))}" if cutoffs else None


def grades_of(rows: Sequence[VerdictRow]) -> list[tuple[str, str, list[VerdictRow]]]:
    """Return grade, explanation and rows of each grade that occurs, in the order of the rows."""
    return [
        (grade, {**_EARLIER, **EXPLANATIONS}.get(grade, ""), [row for row in rows if row.grade == grade])
        for grade in dict.fromkeys(row.grade for row in rows)
    ]


def advices_of(rows: Sequence[VerdictRow]) -> list[tuple[str, list[str]]]:
    """Return each advice once, with the names of the rows that it is for."""
    advices = dict.fromkeys(row.advice for row in rows)
    return [(advice, [row.name for row in rows if row.advice == advice]) for advice in advices]


# Grades that earlier versions gave.
_EARLIER = {"partly grounded": "the rows lie among the pretrained rows and follow the codebooks weakly"}
