"""`gti diagnose`: analyse the rows of the new tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, AdapterOptions, CommonOptions, WorkspaceOption, expand_options
from gti_cli.commands.outcome import print_outcome


def _diagnose(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="CKPT...", help="Checkpoints: folders of the workspace by name, or any other folders."),
    ],
    adapter: AdapterOptions,
    common: CommonOptions,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    plot: Annotated[bool, typer.Option("--plot", help="Also write pictures (PNG and SVG) and report.html.")] = False,
    trajectory: Annotated[
        bool,
        typer.Option(
            "--trajectory",
            help="Compare each checkpoint of a training with the one before it.",
        ),
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the output (default: the checkpoints' names).")
    ] = None,
    tokens_from: Annotated[
        str | None,
        typer.Option(
            "--tokens-from",
            help="Which tokens are new: a file (one per line, or a table with a column 'token') or a pattern (regex).",
        ),
    ] = None,
    base_vocab: Annotated[
        int | None, typer.Option("--base-vocab", help="Which tokens are new: all ids from this one on.")
    ] = None,
    codebooks: Annotated[
        str,
        typer.Option("--codebooks", help="For the RSA: auto (the workspace's), none, or a codebooks file."),
    ] = "auto",
) -> None:
    """Show whether new tokens have collapsed, are scattered, or are grounded: spectrum, cosines, RSA, a verdict."""
    common.configure_console()
    if (common.device, common.dtype, common.resume) != ("auto", "auto", True):
        console.note(
            "--device, --dtype and --no-resume change nothing here: no model runs, and all figures are computed from "
            "the stored rows, on the CPU, in float64"
        )
    from gti_cli.diagnostics.diagnose import diagnose as stage

    checkpoints, base = adapter.merged(checkpoints, workspace, common)
    manifest = stage(
        checkpoints,
        workspace,
        plot=plot,
        trajectory=trajectory,
        name=name,
        tokens_from=tokens_from,
        base_vocab=base_vocab,
        codebooks_from=codebooks,
        seed=common.seed,
        force=common.force,
        columns=common.columns,
        base=base,
    )
    labels = manifest.details["checkpoints"]
    console.table("Rows of the new tokens", _COLUMNS, _table_rows(manifest.metrics, labels))
    for line in _verdict_lines(manifest.metrics, labels):
        console.say(line)
    if trajectory:
        rows = _trajectory_rows(manifest.metrics, labels)
        console.table("From checkpoint to checkpoint", _TRAJECTORY_COLUMNS, rows)
    print_outcome(manifest, workspace / manifest.name)


diagnose = expand_options(_diagnose, {AdapterOptions: "Adapters (PEFT)"})

_COLUMNS = (
    "checkpoint",
    "effective rank (usual)",
    "mean cosine",
    "nearest cosine (usual)",
    "RSA in a level",
    "p",
    "words in texts (chance)",
    "verdict",
)

_TRAJECTORY_COLUMNS = (
    "checkpoint",
    "compared with",
    "effective rank",
    "mean cosine",
    "norm",
    "RSA, all codes",
    "CKA",
    "cosine, same row",
    "movement",
)


def _table_rows(metrics: dict[str, Any], labels: list[str]) -> list[list[Any]]:
    """Return one row of `_COLUMNS` for each matrix of each checkpoint: the figures that decide the verdict."""
    return [
        [
            title,
            _beside(figures["effective_rank"], figures["pretrained_effective_rank"], 1),
            f"{figures['mean_cosine']:.2f}",
            _beside(figures["nearest_pretrained_cosine_q50"], figures["pretrained_nearest_cosine_q05"]),
            None if figures["deciding_rsa_r"] is None else f"{figures['deciding_rsa_r']:.2f}",
            None if figures["deciding_rsa_p"] is None else f"{figures['deciding_rsa_p']:.3f}",
            _beside(figures["word_agreement"], figures["word_agreement_chance"]),
            figures["verdict"],
        ]
        for title, figures in _matrices(metrics, labels)
    ]


def _beside(value: float | None, yardstick: float | None, decimals: int = 2) -> str | None:
    """Return a figure with its yardstick in parentheses."""
    return None if value is None else f"{value:,.{decimals}f} ({yardstick:,.{decimals}f})"


def _verdict_lines(metrics: dict[str, Any], labels: list[str]) -> list[str]:
    """Return the lines under the table: each verdict with its reason and advice, and what the words mean."""
    from gti_cli.diagnostics.verdict import CAVEAT, EXPLANATIONS  # with numpy, which `gti --help` does without

    matrices = list(_matrices(metrics, labels))
    lines = []
    for title, figures in matrices:
        reasons = figures["reason"].split("; ")
        lines += [f"{title}: {figures['verdict']}", *(f"  {reason}" for reason in reasons)]
        lines.append(f"  What to do: {figures['advice']}.")
    grades = dict.fromkeys(figures["verdict"] for _, figures in matrices)
    return [*lines, *(f"{grade.capitalize()}: {EXPLANATIONS[grade]}." for grade in grades), CAVEAT]


def _trajectory_rows(metrics: dict[str, Any], labels: list[str]) -> list[list[Any]]:
    """Return one row of `_TRAJECTORY_COLUMNS` for each matrix of each checkpoint."""
    own_keys = ("effective_rank", "mean_cosine", "norm_mean", "rsa_pearson")
    keys = (*own_keys, "cka_to_previous", "cosine_to_previous", "moved_from_previous")
    return [
        [title, figures["previous"] or "–", *(figures[key] for key in keys)]
        for title, figures in _matrices(metrics, labels)
    ]


def _matrices(metrics: dict[str, Any], labels: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the title and the figures of each matrix: one for a tied checkpoint, input and output for an untied one."""
    for label in labels:
        figures = metrics[label]
        if "output" in figures:
            yield f"{label} (input)", figures
            yield f"{label} (output)", figures["output"]
        else:
            yield label, figures
