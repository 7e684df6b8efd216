"""How every figure moves along a training, and what is left at its end of where the rows began (persistence)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gti_cli import tables
from gti_cli.diagnostics.rows import INPUT
from gti_cli.diagnostics.series import Finding
from gti_cli.diagnostics.timeline import Point
from gti_cli.geometry.persistence import cka, moved, row_cosine

LOG_FILE = "trajectory.parquet"  # what a training leaves in its checkpoint: step, and what was measured at it
FOLLOWED = (
    "effective_rank",
    "pretrained_effective_rank",
    "effective_rank_centred",
    "stable_rank",
    "participation_ratio",
    "isotropy",
    "mean_cosine",
    "norm_mean",
    "pretrained_norm_mean",
    "nearest_pretrained_cosine_q50",
    "level_contrast",
    "parent_contrast",
    "rsa_pearson",
    "rsa_spearman",
    "word_agreement",
    "word_agreement_chance",
)
KEPT = ("cka_to_previous", "cosine_to_previous", "moved_from_previous", "cka_to_start", "cosine_to_start")


@dataclass(frozen=True)
class Moment:
    """A matrix of a checkpoint at one time of one line.

    Attributes:
        line: the name of the line's last checkpoint. label, matrix, position, step: of the point.
        source: ``checkpoint``, or ``log`` for what a training wrote down between two checkpoints.
        figures: by name; a log has few of them.
    """

    line: str
    label: str
    matrix: str
    source: str
    position: float
    step: int | None
    figures: Mapping[str, float | None]


def lines(points: Sequence[Point]) -> list[list[Point]]:
    """From each last checkpoint back to its beginning; where one start was trained in two ways there are two lines."""
    inner = {id(point.previous) for point in points}
    return [point.line for point in points if id(point) not in inner]


def add_persistence(points: Sequence[Point], findings: Sequence[Finding]) -> None:
    """Compare every checkpoint's rows with those of the one before it and of the beginning; adds to their figures.

    ``cka_to_previous``, ``cka_to_start``: debiased linear CKA, the same whatever the rotation. ``cosine_to_…``: mean
    cosine of a row with itself, mean rows taken off, without rotation. ``moved_from_previous``: root mean square way of
    a row over the norm before. None for a beginning, and where one of the two is one point, which has no geometry.
    """
    found = _by_place(findings)
    for point in points:
        for matrix in point.subject.rows.parts:
            figures = found[point.subject.label, matrix].series.figures
            figures.update(dict.fromkeys(KEPT), previous=None)
            here = point.subject.rows.parts[matrix].new
            if point.previous is None or matrix not in point.previous.subject.rows.parts:
                continue
            before = point.previous.subject.rows.parts[matrix].new
            figures["previous"] = point.previous.subject.label
            kept = {"cosine_to_previous": row_cosine(before, here), "moved_from_previous": moved(before, here)}
            if len(here) >= 4:
                kept["cka_to_previous"] = cka(before, here)
            start = point.start.subject.rows.parts.get(matrix)
            if start is not None:
                kept["cosine_to_start"] = row_cosine(start.new, here)
                if len(here) >= 4:
                    kept["cka_to_start"] = cka(start.new, here)
            figures.update({name: value if value == value else None for name, value in kept.items()})


def moments(points: Sequence[Point], findings: Sequence[Finding]) -> list[Moment]:
    """Every line of ``points`` in time, with what the trainings logged between the checkpoints."""
    found = _by_place(findings)
    out = []
    for line in lines(points):
        name = line[-1].subject.label
        for point in line:
            for matrix in point.subject.rows.parts:
                out += _logged(name, point, matrix)
                figures = found[point.subject.label, matrix].series.figures
                label, position = point.subject.label, point.position
                step = point.step if point.step is not None else _steps(point)
                chosen = {key: figures.get(key) for key in (*FOLLOWED, *KEPT)}
                out.append(Moment(name, label, matrix, "checkpoint", position, step, chosen))
    return out


def _by_place(findings: Iterable[Finding]) -> dict[tuple[str, str], Finding]:
    return {(finding.subject.label, finding.part_name): finding for finding in findings}


def _steps(point: Point) -> int | None:
    """Optimiser steps of the stage that wrote the checkpoint, as its manifest counts them."""
    manifest = point.subject.manifest
    count = manifest.counts.get("steps") if manifest is not None else None
    return int(count) if isinstance(count, int) else None


def _logged(line: str, point: Point, matrix: str) -> list[Moment]:
    """What the training of ``point`` wrote down on its way, between the point before it and itself."""
    path = point.subject.rows.folder / LOG_FILE
    if point.step is not None or point.previous is None or not path.is_file():
        return []
    prefix = "" if matrix == INPUT else f"{matrix}_"
    entries = tables.read(path, ["step"]).to_pylist()
    whole = max(_steps(point) or 0, *(entry["step"] for entry in entries), 1)
    start, end = point.previous.position, point.position
    found = []
    for entry in entries:
        figures = {name: entry.get(prefix + name) for name in FOLLOWED} | {"loss": entry.get("loss")}
        if 0 < entry["step"] < whole and any(value is not None for value in figures.values()):
            at = start + (end - start) * entry["step"] / whole
            found.append(Moment(line, point.subject.label, matrix, "log", at, int(entry["step"]), figures))
    return found


def write_trajectory(found: Sequence[Moment], folder: Path) -> None:
    """Write ``trajectory.parquet``: a row for each moment of each line, a column for each figure (null: not known)."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "line": [moment.line for moment in found],
        "checkpoint": [moment.label for moment in found],
        "matrix": [moment.matrix for moment in found],
        "source": [moment.source for moment in found],
        "position": pa.array([moment.position for moment in found], pa.float64()),
        "step": pa.array([moment.step for moment in found], pa.int64()),
    }
    for name in ("loss", *FOLLOWED, *KEPT):
        columns[name] = pa.array([moment.figures.get(name) for moment in found], pa.float64())
    tables.write(folder / "trajectory.parquet", columns)
