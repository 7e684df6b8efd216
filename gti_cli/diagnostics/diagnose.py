"""The stage `gti diagnose`: see why the new tokens of one or more checkpoints work, or do not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gti_cli import console
from gti_cli.diagnostics.pictures.plot_trajectory import plot_trajectory
from gti_cli.diagnostics.pictures.plots import plot_all
from gti_cli.diagnostics.report import write_report
from gti_cli.diagnostics.rows import INPUT, OUTPUT
from gti_cli.diagnostics.series import Finding, find, write_tables
from gti_cli.diagnostics.subjects import Reading, read_subjects
from gti_cli.diagnostics.timeline import Entry, Point, expand, lay_out
from gti_cli.diagnostics.trajectory import add_persistence, lines, moments, write_trajectory
from gti_cli.diagnostics.words import TextWords
from gti_cli.errors import InputError
from gti_cli.options import check_seed
from gti_cli.pictures import save_picture
from gti_cli.workspace import Workspace, write_json
from gti_cli.workspace.manifest import Manifest


def diagnose(
    checkpoints: Sequence[str | Path],
    workspace: Path | str = Path("gti-workspace"),
    *,
    plot: bool = False,
    trajectory: bool = False,
    name: str | None = None,
    tokens_from: str | None = None,
    base_vocab: int | None = None,
    codebooks_from: str = "auto",
    seed: int = 0,
    force: bool = False,
) -> Manifest:
    """Measure the rows of the new tokens of ``checkpoints`` and compare them with pretrained rows and codebooks.

    Args:
        checkpoints: folders of the workspace by name, or any folders. Only the rows needed are read, no model is built.
        workspace: where codebooks and items are, and where ``diagnostics/NAME`` goes.
        plot: also write pictures (PNG and SVG) and ``report.html``.
        trajectory: the checkpoints are points in time: follow every figure from each to what was trained from it, and
            say what was kept. Folders that hold ``checkpoint-N`` folders stand for these.
        name: of the output (default: the checkpoints' names).
        tokens_from, base_vocab: which tokens are new, for checkpoints that do not say so themselves.
        codebooks_from: ``auto`` (the workspace's, where it has any), ``none``, or a codebooks file.
        seed: of the sample of pretrained rows, the permutation test and the bootstrap.
        force: replace a diagnosis of the same name made otherwise.

    Raises:
        InputError: no checkpoint, damaged files, no new tokens, codebooks of other sizes, a name that is no name, a
            seed out of range.
    """
    check_seed(seed)
    space = Workspace(workspace)
    reading, points = _read(space, checkpoints, trajectory, tokens_from, base_vocab, codebooks_from, seed)
    labels = [subject.label for subject in reading.subjects]
    artifact = f"diagnostics/{_output_name(name, labels)}"
    options = {**_asked(reading, points, tokens_from, base_vocab, codebooks_from), "plot": plot}
    plot, force = _pictures(space, artifact, options, plot, force)
    with space.stage(
        "diagnose",
        artifact,
        [artifact],
        options={**options, "plot": plot},
        inputs={
            "codebooks": reading.oracle_file,
            "tokens": tokens_from if tokens_from and Path(tokens_from).is_file() else None,
        },
        upstream=reading.upstream,
        seed=seed,
        force=force,
    ) as run:
        if not run.done:
            folder = run.path(artifact)
            folder.mkdir(parents=True)
            run.device = "cpu"
            run.metrics.update(_write(reading, points, folder, plot, seed))
            run.counts.update({subject.label: len(subject.rows.tokens.ids) for subject in reading.subjects})
            run.details["checkpoints"] = labels
    return run.result()


def _read(
    space: Workspace,
    checkpoints: Sequence[str | Path],
    trajectory: bool,
    tokens_from: str | None,
    base_vocab: int | None,
    codebooks_from: str,
    seed: int,
) -> tuple[Reading, list[Point]]:
    """The checkpoints' rows; with ``trajectory`` also their places in time, folders of checkpoints opened up."""
    entries = [Entry(str(path)) for path in checkpoints]
    if trajectory:
        entries = expand(space, [entry.path for entry in entries])
    reading = read_subjects(
        space,
        [entry.path for entry in entries],
        tokens_from=tokens_from,
        base_vocab=base_vocab,
        codebooks_from=codebooks_from,
        seed=seed,
        lend_tokens=trajectory,
    )
    return reading, lay_out(space, entries, reading.subjects) if trajectory else []


def _asked(
    reading: Reading, points: Sequence[Point], tokens_from: str | None, base_vocab: int | None, codebooks_from: str
) -> dict[str, Any]:
    """What decides the figures, for the manifest."""
    asked: dict[str, Any] = {
        "checkpoints": [subject.label for subject in reading.subjects],
        "rows": {subject.label: subject.rows.digest for subject in reading.subjects},
        "tokens_from": tokens_from,
        "base_vocab": base_vocab,
        "codebooks": codebooks_from if codebooks_from in ("auto", "none") else "file",
    }
    if points:
        asked["trajectory"] = [[point.subject.label for point in line] for line in lines(points)]
    return asked


def _pictures(space: Workspace, artifact: str, options: dict[str, Any], plot: bool, force: bool) -> tuple[bool, bool]:
    """(plot, force): asking again with ``--plot`` adds the pictures, asking again without does not take them away."""
    existing = space.manifest(artifact)
    if existing is None:
        return plot, force
    same = {**existing.options, "plot": plot} == options
    if same and existing.options.get("plot"):
        return True, force
    return plot, force or same


def _output_name(name: str | None, labels: list[str]) -> str:
    if name is None:
        name = "-".join(labels[:4]) + (f"-and-{len(labels) - 4}-more" if len(labels) > 4 else "")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "checkpoint"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise InputError(f"--name {name!r} is no name", remedy="use letters, digits, '.', '_' and '-'")
    return name


def _write(reading: Reading, points: Sequence[Point], folder: Path, plot: bool, seed: int) -> dict[str, Any]:
    """Measure, write the tables and pictures, and return the metrics by checkpoint."""
    texts = TextWords(reading.catalogue.texts) if reading.catalogue is not None else None
    matrices = sum(len(subject.rows.parts) for subject in reading.subjects)
    findings: list[Finding] = []
    with console.progress("Diagnosing", matrices, "matrices") as advance:
        for subject in reading.subjects:
            for part_name in subject.rows.parts:
                findings.append(find(subject, part_name, texts, seed))
                advance()
    add_persistence(points, findings)
    followed = moments(points, findings)
    metrics: dict[str, Any] = {}
    for finding in findings:
        figures = finding.series.figures
        if finding.part_name == INPUT:
            metrics[finding.subject.label] = {"tied": len(finding.subject.rows.parts) == 1, **figures}
        else:
            metrics[finding.subject.label][OUTPUT] = figures
    write_tables(findings, folder)
    if followed:
        write_trajectory(followed, folder)
    write_json(folder / "metrics.json", metrics)
    if plot:
        plot_all([finding.series for finding in findings], folder)
        if followed:
            save_picture(plot_trajectory(followed), folder / "trajectory")
        write_report(findings, reading.catalogue, folder)
    return metrics
