"""The stage `gti diagnose`: measure the rows of the new tokens of checkpoints, and judge them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gti_cli import console, tables
from gti_cli.checkpoints.embeddings import INPUT, OUTPUT
from gti_cli.diagnostics.history import History, read_history
from gti_cli.diagnostics.inputs import DiagnosisInputs, read_inputs
from gti_cli.diagnostics.matrix_diagnosis import MatrixDiagnosis, diagnose_matrix, write_tables
from gti_cli.diagnostics.nearest_words import TextWords
from gti_cli.diagnostics.pictures.plot_trajectory import plot_trajectory
from gti_cli.diagnostics.pictures.plots import plot_all
from gti_cli.diagnostics.report import ReportContext, command_line, write_report
from gti_cli.diagnostics.timeline import CheckpointPath, TimelineCheckpoint, build_timeline, expand_folders
from gti_cli.diagnostics.trajectory import add_persistence, lines, trajectory_points, write_trajectory
from gti_cli.diagnostics.verdict import VERSION
from gti_cli.errors import InputError
from gti_cli.options import check_seed
from gti_cli.plot_style import save_picture
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
    columns: str | None = None,
    base: str | None = None,
) -> Manifest:
    """Measure the rows of the new tokens of checkpoints, and compare them with pretrained rows and codebooks.

    Only rows are read from the checkpoints' files. No model is built.

    Args:
        checkpoints: Folders of the workspace by name, or any folders with a checkpoint.
        workspace: Holds the codebooks and items to compare with; ``diagnostics/NAME`` is written into it.
        plot: Also write pictures (PNG and SVG) and ``report.html``.
        trajectory: Treat the checkpoints as points in time: compare each with the one that it was trained from, and
            with the start. A folder that holds ``checkpoint-N`` folders stands for these.
        name: Name of the output. None: made from the checkpoints' names.
        tokens_from: Which tokens are new, for checkpoints without a list of them: a file or a regular expression, see
            `token_selection.find_new_tokens`.
        base_vocab: Which tokens are new, for checkpoints without a list of them: all ids from this one on.
        codebooks_from: ``auto`` (those of the workspace, where it has any), ``none``, or a codebooks file.
        seed: Seed of the sample of pretrained rows, the permutation test, the bootstrap and sampled pairs.
        force: Replace an existing diagnosis of the same name that was made from other inputs or options.
        columns: What the column of a table of tokens is called: ``"token=NAME"``.
        base: Base model of the adapters (PEFT) among the checkpoints. None: the one that each names.

    Returns:
        The manifest. Its ``metrics`` hold the figures of each checkpoint by label.

    Raises:
        InputError: When there is no checkpoint, when files are damaged, when new tokens are missing, when the codebooks
            have other sizes, when the name is not a valid one, or when the seed is out of range.
    """
    check_seed(seed)
    tokens_from = tables.locate_all([tokens_from], columns)[0]
    space = Workspace(workspace)
    inputs, timeline = _read(space, checkpoints, trajectory, tokens_from, base_vocab, codebooks_from, seed, base)
    labels = [checkpoint.label for checkpoint in inputs.checkpoints]
    histories, evaluations = _histories(space, inputs)
    upstream = {**inputs.upstream, **evaluations}
    artifact = f"diagnostics/{_output_name(name, labels)}"
    options = {**_options(inputs, timeline, tokens_from, base_vocab, codebooks_from), "plot": plot}
    existing = space.manifest_if_readable(artifact) if force else space.manifest(artifact)
    plot, force = adjust_plot_and_force(existing, options, upstream, seed, force)
    with space.stage(
        "diagnose",
        artifact,
        [artifact],
        options={**options, "plot": plot},
        inputs={"codebooks": inputs.codebooks_file, "tokens": _list_of_tokens(tokens_from)},
        upstream=upstream,
        seed=seed,
        force=force,
    ) as run:
        if not run.done:
            run.device = "cpu"
            context = ReportContext(space, command_line(options, artifact))
            folder = run.path(artifact)
            run.metrics.update(_measure_and_write(inputs, timeline, histories, folder, plot, seed, context))
            run.counts.update({checkpoint.label: len(checkpoint.rows.tokens.ids) for checkpoint in inputs.checkpoints})
            run.details.update(inputs.details, checkpoints=labels)
    return run.result()


def _read(
    space: Workspace,
    checkpoints: Sequence[str | Path],
    trajectory: bool,
    tokens_from: str | None,
    base_vocab: int | None,
    codebooks_from: str,
    seed: int,
    base: str | None,
) -> tuple[DiagnosisInputs, list[TimelineCheckpoint]]:
    """Read all inputs; with ``trajectory``, folders of checkpoints are expanded and the checkpoints placed in time."""
    paths = [CheckpointPath(str(path)) for path in checkpoints]
    if trajectory:
        paths = expand_folders(space, [path.path for path in paths])
    inputs = read_inputs(
        space,
        [path.path for path in paths],
        tokens_from=tokens_from,
        base_vocab=base_vocab,
        codebooks_from=codebooks_from,
        seed=seed,
        inherit_tokens=trajectory,
        base=base,
    )
    return inputs, build_timeline(space, paths, inputs.checkpoints) if trajectory else []


def _list_of_tokens(tokens_from: str | None) -> Path | str | None:
    """Return the table or the file that lists the new tokens; None where there is none."""
    if tokens_from is None or tables.locate(tokens_from).is_table:
        return tokens_from
    path = Path(tokens_from)
    return path if path.is_file() else None


def _options(
    inputs: DiagnosisInputs,
    timeline: Sequence[TimelineCheckpoint],
    tokens_from: str | None,
    base_vocab: int | None,
    codebooks_from: str,
) -> dict[str, Any]:
    """The options for the manifest: everything that affects the figures."""
    options: dict[str, Any] = {
        "checkpoints": [checkpoint.label for checkpoint in inputs.checkpoints],
        "rows": {checkpoint.label: checkpoint.rows.digest for checkpoint in inputs.checkpoints},
        "tokens_from": tokens_from,
        "base_vocab": base_vocab,
        "codebooks": codebooks_from if codebooks_from in ("auto", "none") else "file",
        "verdicts": VERSION,
    }
    if timeline:
        options["trajectory"] = [[entry.checkpoint.label for entry in line] for line in lines(timeline)]
    return options


def _histories(space: Workspace, inputs: DiagnosisInputs) -> tuple[dict[str, History], dict[str, Manifest]]:
    """The history of each checkpoint by its label, and the manifests of the evaluations that advice is based on."""
    manifests = space.manifests()
    histories = {entry.label: read_history(space, manifests, entry) for entry in inputs.checkpoints}
    names = {history.accuracy.artifact for history in histories.values() if history.accuracy is not None}
    return histories, {name: manifests[name] for name in sorted(names)}


def adjust_plot_and_force(
    existing: Manifest | None, options: dict[str, Any], upstream: Mapping[str, Manifest], seed: int, force: bool
) -> tuple[bool, bool]:
    """The values of ``plot`` and ``force`` to use where a diagnosis of this name exists.

    It is replaced without ``force`` where the rows are the same, and only its verdicts or its pictures are not up to
    date: there is a new evaluation, another version gave its verdicts, or pictures are asked for. Pictures that are
    there are kept, also where none are asked for.

    Args:
        existing: The manifest of the diagnosis of this name. None where there is none.
        options: The options of this run.
        upstream: The artifacts that this run reads.
        seed: The seed of this run.
        force: The caller's ``--force``.
    """
    plot = bool(options["plot"])
    if existing is None:
        return plot, force
    adjusted = dict.fromkeys(("plot", "verdicts"))
    sources = {name: manifest.identity for name, manifest in upstream.items()}
    is_same = (
        {**existing.options, **adjusted} == {**options, **adjusted}
        and _without_evaluations(existing.upstream) == _without_evaluations(sources)
        and existing.seed == seed
    )
    if not is_same:
        return plot, force
    plot = plot or bool(existing.options.get("plot"))
    has_changed = existing.options != {**options, "plot": plot} or existing.upstream != sources
    return plot, force or has_changed


def _without_evaluations(identities: Mapping[str, str]) -> dict[str, str]:
    return {name: identity for name, identity in identities.items() if not name.startswith("evaluation/")}


def _output_name(name: str | None, labels: list[str]) -> str:
    if name is None:
        name = "-".join(labels[:4]) + (f"-and-{len(labels) - 4}-more" if len(labels) > 4 else "")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "checkpoint"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise InputError(f"--name {name!r} is not a valid name", remedy="use letters, digits, '.', '_' and '-'")
    return name


def _measure_and_write(
    inputs: DiagnosisInputs,
    timeline: Sequence[TimelineCheckpoint],
    histories: Mapping[str, History],
    folder: Path,
    plot: bool,
    seed: int,
    context: ReportContext,
) -> dict[str, Any]:
    """Measure all matrices, write tables and pictures into a new ``folder``, and return the figures by checkpoint."""
    folder.mkdir(parents=True)
    texts = TextWords(inputs.items.texts) if inputs.items is not None else None
    count = sum(len(checkpoint.rows.matrices) for checkpoint in inputs.checkpoints)
    diagnoses: list[MatrixDiagnosis] = []
    with console.progress("Diagnosing", count, "matrices") as advance:
        for checkpoint in inputs.checkpoints:
            for matrix in checkpoint.rows.matrices:
                diagnoses.append(diagnose_matrix(checkpoint, matrix, texts, seed, histories[checkpoint.label]))
                advance()
    add_persistence(timeline, diagnoses)
    points = trajectory_points(timeline, diagnoses)
    # The figures of the input embedding stand at the top, those of an untied output head under "output".
    metrics: dict[str, Any] = {}
    for diagnosis in diagnoses:
        label, figures = diagnosis.checkpoint.label, diagnosis.series.figures
        if diagnosis.matrix == INPUT:
            metrics[label] = {"tied": len(diagnosis.checkpoint.rows.matrices) == 1, **figures}
        else:
            metrics[label][OUTPUT] = figures
    write_tables(diagnoses, folder)
    if points:
        write_trajectory(points, folder)
    write_json(folder / "metrics.json", metrics)
    if plot:
        plot_all([diagnosis.series for diagnosis in diagnoses], folder)
        if points:
            save_picture(plot_trajectory(points), folder / "trajectory")
        write_report(diagnoses, inputs.items, folder, metrics, context)
    return metrics
