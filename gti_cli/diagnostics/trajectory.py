"""The figures of checkpoints along a training, and their persistence: how much of the rows' start is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gti_cli import tables
from gti_cli.checkpoints.embeddings import INPUT
from gti_cli.diagnostics.matrix_diagnosis import MatrixDiagnosis
from gti_cli.diagnostics.timeline import TimelineCheckpoint
from gti_cli.geometry.persistence import cka, moved, row_cosine

LOG_FILE = "trajectory.parquet"  # in a checkpoint: what its training measured on the way, by step
FIGURES = (
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
PERSISTENCE = ("cka_to_previous", "cosine_to_previous", "moved_from_previous", "cka_to_start", "cosine_to_start")


@dataclass(frozen=True)
class TrajectoryPoint:
    """The figures of one matrix at one time of one line; a row of ``trajectory.parquet``.

    Attributes:
        line: Label of the line's last checkpoint.
        label: Label of the checkpoint. For a logged point, of the checkpoint whose training wrote the log.
        matrix: ``input`` or ``output``.
        source: ``checkpoint``, or ``log`` for figures that a training logged between two checkpoints.
        position: Place on the time axis, see `TimelineCheckpoint`.
        step: Training step, where known.
        figures: Figures by name. A log has few of them.
    """

    line: str
    label: str
    matrix: str
    source: str
    position: float
    step: int | None
    figures: Mapping[str, float | None]


def lines(timeline: Sequence[TimelineCheckpoint]) -> list[list[TimelineCheckpoint]]:
    """The lines of a timeline, each from its root to a leaf; a start that was trained in two ways is in two lines."""
    inner = {id(entry.previous) for entry in timeline}
    return [entry.line for entry in timeline if id(entry) not in inner]


def add_persistence(timeline: Sequence[TimelineCheckpoint], diagnoses: Sequence[MatrixDiagnosis]) -> None:
    """Compare each checkpoint's new rows with those of its predecessor and of its root, and add that to its figures.

    - ``cka_to_previous`` and ``cka_to_start``: debiased linear CKA, which ignores rotations.
    - ``cosine_to_previous`` and ``cosine_to_start``: mean cosine of each row with itself, mean rows subtracted, which
      does not ignore rotations.
    - ``moved_from_previous``: root mean square distance that the rows moved, over the same norm of the rows before.

    A figure is None for a root, and where all rows of one side are equal.

    Args:
        timeline: The checkpoints in time. Empty: nothing is added.
        diagnoses: The diagnoses of their matrices, whose figures are extended in place.
    """
    by_key = _by_label_and_matrix(diagnoses)
    for entry in timeline:
        for matrix, rows in entry.checkpoint.rows.matrices.items():
            figures = by_key[entry.checkpoint.label, matrix].series.figures
            figures.update(dict.fromkeys(PERSISTENCE), previous=None)
            if entry.previous is None or matrix not in entry.previous.checkpoint.rows.matrices:
                continue
            before, after = entry.previous.checkpoint.rows.matrices[matrix].new, rows.new
            figures["previous"] = entry.previous.checkpoint.label
            persistence = {"cosine_to_previous": row_cosine(before, after), "moved_from_previous": moved(before, after)}
            if len(after) >= 4:  # the least number of rows that debiased CKA is defined for
                persistence["cka_to_previous"] = cka(before, after)
            start = entry.start.checkpoint.rows.matrices.get(matrix)
            if start is not None:
                persistence["cosine_to_start"] = row_cosine(start.new, after)
                if len(after) >= 4:
                    persistence["cka_to_start"] = cka(start.new, after)
            # NaN is the only value that differs from itself; JSON needs None.
            figures.update({name: value if value == value else None for name, value in persistence.items()})


def trajectory_points(
    timeline: Sequence[TimelineCheckpoint], diagnoses: Sequence[MatrixDiagnosis]
) -> list[TrajectoryPoint]:
    """The figures of all lines in time, with those that the trainings logged between checkpoints."""
    by_key = _by_label_and_matrix(diagnoses)
    points = []
    for line in lines(timeline):
        name = line[-1].checkpoint.label
        for entry in line:
            label = entry.checkpoint.label
            for matrix in entry.checkpoint.rows.matrices:
                points += _logged(name, entry, matrix)
                step = entry.step if entry.step is not None else _total_steps(entry)
                measured = by_key[label, matrix].series.figures
                figures = {key: measured.get(key) for key in (*FIGURES, *PERSISTENCE)}
                points.append(TrajectoryPoint(name, label, matrix, "checkpoint", entry.position, step, figures))
    return points


def _by_label_and_matrix(diagnoses: Iterable[MatrixDiagnosis]) -> dict[tuple[str, str], MatrixDiagnosis]:
    return {(diagnosis.checkpoint.label, diagnosis.matrix): diagnosis for diagnosis in diagnoses}


def _total_steps(entry: TimelineCheckpoint) -> int | None:
    """Optimizer steps of the stage that wrote the checkpoint, from its manifest."""
    manifest = entry.checkpoint.manifest
    count = manifest.counts.get("steps") if manifest is not None else None
    return int(count) if isinstance(count, int) else None


def _logged(line: str, entry: TimelineCheckpoint, matrix: str) -> list[TrajectoryPoint]:
    """The figures that the training of a checkpoint logged after the checkpoint before it and before its end."""
    path = entry.checkpoint.rows.folder / LOG_FILE
    if entry.step is not None or entry.previous is None or not path.is_file():
        return []
    prefix = "" if matrix == INPUT else f"{matrix}_"
    log = tables.read(path, ["step"]).to_pylist()
    total = max(_total_steps(entry) or 0, *(row["step"] for row in log), 1)
    start, end = entry.previous.position, entry.position
    points = []
    for row in log:
        figures = {name: row.get(prefix + name) for name in FIGURES} | {"loss": row.get("loss")}
        # Step 0 and the last step are the two checkpoints themselves.
        if 0 < row["step"] < total and any(value is not None for value in figures.values()):
            position = start + (end - start) * row["step"] / total
            label = entry.checkpoint.label
            points.append(TrajectoryPoint(line, label, matrix, "log", position, int(row["step"]), figures))
    return points


def write_trajectory(points: Sequence[TrajectoryPoint], folder: Path) -> None:
    """Write ``trajectory.parquet``: a row for each point, a column for each figure (null where it is undefined)."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "line": [point.line for point in points],
        "checkpoint": [point.label for point in points],
        "matrix": [point.matrix for point in points],
        "source": [point.source for point in points],
        "position": pa.array([point.position for point in points], pa.float64()),
        "step": pa.array([point.step for point in points], pa.int64()),
    }
    for name in ("loss", *FIGURES, *PERSISTENCE):
        columns[name] = pa.array([point.figures.get(name) for point in points], pa.float64())
    tables.write(folder / "trajectory.parquet", columns)
