"""The stage `gti diagnose`: see why the new tokens of one or more checkpoints work, or do not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.diagnostics import codebooks
from gti_cli.diagnostics.measure import measure
from gti_cli.diagnostics.plots import Series, plot_all
from gti_cli.diagnostics.rows import INPUT, OUTPUT, CheckpointRows, Part, read_checkpoint
from gti_cli.diagnostics.verdict import judge
from gti_cli.errors import InputError
from gti_cli.geometry.sampling import evenly
from gti_cli.geometry.similarity import cosine_matrix
from gti_cli.geometry.spectrum import singular_values
from gti_cli.manifest import Manifest
from gti_cli.training.checkpoints import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.workspace import Workspace, write_json

SHOWN = 50  # pretrained and new tokens in the picture of cosines, as in the paper


@dataclass(frozen=True)
class Subject:
    """One checkpoint under diagnosis: its label, where it lies, what was read, its codebook vectors."""

    label: str
    checkpoint: Checkpoint
    rows: CheckpointRows
    oracle: codebooks.Oracle | None


def diagnose(
    checkpoints: Sequence[str | Path],
    workspace: Path | str = Path("gti-workspace"),
    *,
    plot: bool = False,
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
        workspace: where the codebooks are, and where ``diagnostics/NAME`` goes.
        plot: also write pictures (PNG and SVG).
        name: of the output (default: the checkpoints' names).
        tokens_from, base_vocab: which tokens are new, for checkpoints that do not say so themselves.
        codebooks_from: ``auto`` (the workspace's, where it has any), ``none``, or a codebooks file.
        seed: of the sample of pretrained rows. force: replace a diagnosis of the same name made otherwise.

    Raises:
        InputError: no checkpoint, damaged files, no new tokens, codebooks of other sizes, a name that is no name.
    """
    space = Workspace(workspace)
    subjects, upstream, oracle_file = _read(space, checkpoints, tokens_from, base_vocab, codebooks_from, seed)
    name = _output_name(name, [subject.label for subject in subjects])
    options = {
        "checkpoints": [subject.label for subject in subjects],
        "rows": {subject.label: subject.rows.digest for subject in subjects},
        "tokens_from": tokens_from,
        "base_vocab": base_vocab,
        "codebooks": codebooks_from if codebooks_from in ("auto", "none") else "file",
        "plot": plot,
    }
    artifact = f"diagnostics/{name}"
    plot, force = _pictures(space, artifact, options, plot, force)
    inputs = {"codebooks": oracle_file, "tokens": tokens_from if tokens_from and Path(tokens_from).is_file() else None}
    with space.stage(
        "diagnose",
        artifact,
        [artifact],
        options={**options, "plot": plot},
        inputs=inputs,
        upstream=upstream,
        seed=seed,
        force=force,
    ) as run:
        if not run.done:
            folder = run.path(artifact)
            folder.mkdir(parents=True)
            run.device = "cpu"
            run.metrics.update(_write(subjects, folder, plot))
            run.counts.update({subject.label: len(subject.rows.tokens.ids) for subject in subjects})
            run.details["checkpoints"] = [subject.label for subject in subjects]
    return run.result()


def _pictures(space: Workspace, artifact: str, options: dict[str, Any], plot: bool, force: bool) -> tuple[bool, bool]:
    """(plot, force): asking again with ``--plot`` adds the pictures, asking again without does not take them away."""
    existing = space.manifest(artifact)
    if existing is None:
        return plot, force
    same = {**existing.options, "plot": plot} == options
    if same and existing.options.get("plot"):
        return True, force
    return plot, force or same


def _read(
    space: Workspace,
    given: Sequence[str | Path],
    tokens_from: str | None,
    base_vocab: int | None,
    codebooks_from: str,
    seed: int,
) -> tuple[list[Subject], dict[str, Manifest], Path | None]:
    """Everything that can go wrong goes wrong here, before anything is written."""
    if not given:
        raise InputError("no checkpoint given", remedy="name at least one, e.g. 'gti diagnose extended grounded'")
    found = [resolve(space, str(path)) for path in given]
    labels = label(found)
    ids = space.manifest("semantic_ids") if codebooks_from == "auto" else None
    oracles: list[npt.NDArray[np.float32]] | None = None
    oracle_file = None
    upstream: dict[str, Manifest] = {}
    if ids is not None:
        ids = space.require("semantic_ids", "gti build-ids")
        upstream["semantic_ids"] = ids
        oracles = codebooks.read_codebooks(space.path("codebooks.safetensors"))
    elif codebooks_from not in ("auto", "none"):
        oracle_file = Path(codebooks_from)
        oracles = codebooks.read_codebooks(oracle_file)
    subjects = []
    for text, checkpoint in zip(labels, found, strict=True):
        upstream.update(checkpoint.upstream())
        before = checkpoint.manifest.details.get("base_vocab") if checkpoint.manifest else None
        rows = read_checkpoint(
            Path(checkpoint.path), tokens_from=tokens_from, base_vocab=base_vocab, seed=seed, rows_before=before
        )
        oracle = None
        if oracles is not None and (rows.tokens.levels >= 0).any():
            if ids is not None:
                check_same_ids(checkpoint, ids)
            oracle = codebooks.match(rows.tokens, oracles, checkpoint.path, part=tokens_from is not None)
        subjects.append(Subject(text, checkpoint, rows, oracle))
    if oracles is None and codebooks_from == "auto":
        console.note(f"no semantic IDs in {space.root}: no RSA with codebooks (or pass --codebooks FILE)")
    return subjects, upstream, oracle_file


def resolve(space: Workspace, given: str) -> Checkpoint:
    """A folder of the workspace by name, or any folder on this machine; it needs no manifest.

    Raises:
        InputError: no such folder, or no checkpoint.
    """
    inside = space.path(given)
    if not Path(given).is_dir() and inside.is_dir() and not (inside / "gti.json").is_file():
        given = str(inside)
    checkpoint = find_checkpoint(space, given, given, "gti extend")
    if not checkpoint.local:
        raise InputError(
            "no such folder", where=given, remedy="diagnose reads files: give a folder (download a hub model first)"
        )
    return checkpoint


def label(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """A different name for each checkpoint: its folder's, with as much of the path before it as tells them apart.

    Raises:
        InputError: the same folder twice.
    """
    paths = [Path(checkpoint.path).resolve() for checkpoint in checkpoints]
    for path in paths:
        if paths.count(path) > 1:
            raise InputError("the same checkpoint was given twice", where=str(path), remedy="name each once")
    depth = 1
    while True:
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            break
        depth += 1
    # Only those that would clash get longer.
    short = [path.name for path in paths]
    return [short[i] if short.count(short[i]) == 1 else labels[i] for i in range(len(paths))]


def _output_name(name: str | None, labels: list[str]) -> str:
    if name is None:
        name = "-".join(labels[:4]) + (f"-and-{len(labels) - 4}-more" if len(labels) > 4 else "")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "checkpoint"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise InputError(f"--name {name!r} is no name", remedy="use letters, digits, '.', '_' and '-'")
    return name


def _write(subjects: list[Subject], folder: Path, plot: bool) -> dict[str, Any]:
    """Measure, write the tables and pictures, and return the metrics by checkpoint."""
    metrics: dict[str, Any] = {}
    series: list[Series] = []
    with console.progress("Diagnosing", sum(len(subject.rows.parts) for subject in subjects), "matrices") as advance:
        for subject in subjects:
            for part_name, part in subject.rows.parts.items():
                figures = measure(part.new, part.pretrained, subject.oracle)
                verdict = judge(figures)
                figures.update(verdict=verdict.word, reason=verdict.reason, advice=verdict.advice)
                if part_name == INPUT:
                    metrics[subject.label] = {"tied": len(subject.rows.parts) == 1, **figures}
                else:
                    metrics[subject.label][OUTPUT] = figures
                series.append(_series(subject, part_name, part, figures))
                advance()
    _write_tables(subjects, series, folder)
    write_json(folder / "metrics.json", metrics)
    if plot:
        plot_all(series, folder)
    return metrics


def _series(subject: Subject, part_name: str, part: Part, figures: dict[str, Any]) -> Series:
    name = subject.label if len(subject.rows.parts) == 1 else f"{subject.label} ({part_name})"
    old, new = evenly(len(part.pretrained), SHOWN), evenly(len(part.new), SHOWN)
    reference = part.pretrained[evenly(len(part.pretrained), figures["pretrained_tokens"])]
    return Series(
        name=name,
        values=singular_values(part.new),
        pretrained_values=singular_values(reference),
        cosines=cosine_matrix(np.vstack([part.pretrained[old], part.new[new]])),
        shown=len(new),
        levels=subject.rows.tokens.levels[new],
        figures=figures,
    )


def _write_tables(subjects: list[Subject], series: list[Series], folder: Path) -> None:
    spectrum: dict[str, list[Any]] = {"checkpoint": [], "rows": [], "k": [], "singular_value": []}
    for entry in series:
        for rows, values in (("new", entry.values), ("pretrained", entry.pretrained_values)):
            spectrum["checkpoint"] += [entry.name] * len(values)
            spectrum["rows"] += [rows] * len(values)
            spectrum["k"] += range(1, len(values) + 1)
            spectrum["singular_value"] += values.tolist()
    tables.write(folder / "spectrum.parquet", spectrum)
    columns: dict[str, list[Any]] = {key: [] for key in ("checkpoint", "rows", "token", "id", "level", "code", "norm")}
    for subject in subjects:
        tokens = subject.rows.tokens
        for part_name, part in subject.rows.parts.items():
            columns["checkpoint"] += [subject.label] * len(tokens.ids)
            columns["rows"] += [part_name] * len(tokens.ids)
            columns["token"] += tokens.names
            columns["id"] += tokens.ids.tolist()
            columns["level"] += tokens.levels.tolist()
            columns["code"] += tokens.codes.tolist()
            columns["norm"] += np.linalg.norm(part.new.astype(np.float64), axis=1).tolist()
    tables.write(folder / "tokens.parquet", columns)
