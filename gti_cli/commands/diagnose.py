"""`gti diagnose`: see why the new tokens work, or do not."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, CommonOptions, WorkspaceOption, expand_options
from gti_cli.commands.outcome import print_outcome


def _diagnose(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="CKPT...", help="Folders of the workspace by name, or any folders."),
    ],
    common: CommonOptions,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    plot: Annotated[bool, typer.Option("--plot", help="Also write pictures (PNG and SVG) and report.html.")] = False,
    trajectory: Annotated[
        bool,
        typer.Option(
            "--trajectory",
            help="Follow the figures from checkpoint to checkpoint of a training, and say what was kept.",
        ),
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the output (default: the checkpoints' names).")
    ] = None,
    tokens_from: Annotated[
        str | None,
        typer.Option(
            "--tokens-from",
            help="Which tokens are new: a file (one a line, or a table with a column 'token') or a regular expression.",
        ),
    ] = None,
    base_vocab: Annotated[
        int | None, typer.Option("--base-vocab", help="Which tokens are new: all ids from this on.")
    ] = None,
    codebooks: Annotated[
        str,
        typer.Option("--codebooks", help="For the RSA: auto (the workspace's), none, or a codebooks file."),
    ] = "auto",
) -> None:
    """Show whether new tokens have collapsed, are scattered, or are grounded: spectrum, cosines, RSA, a verdict."""
    common.configure_console()
    # Of the options that every command takes, device, dtype and resume mean nothing here: no model runs, figures are
    # computed from the stored rows on the CPU, in float64.
    from gti_cli.diagnostics.diagnose import diagnose as stage

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
    )
    rows = _rows(manifest.metrics, manifest.details["checkpoints"])
    console.table("Rows of the new tokens", _COLUMNS, [row[:-2] for row in rows])
    for row in rows:
        console.say(f"{row[0]}: {row[-3]}, because {row[-2]}." + (f" What to do: {row[-1]}." if row[-1] else ""))
    if trajectory:
        console.table(
            "From checkpoint to checkpoint", _MOVES, _moves(manifest.metrics, manifest.details["checkpoints"])
        )
    print_outcome(manifest, workspace / manifest.name)


diagnose = expand_options(_diagnose)

_COLUMNS = (
    "checkpoint",
    "tokens",
    "effective rank",
    "pretrained's",
    "stable rank",
    "mean cosine",
    "RSA r",
    "RSA rho",
    "verdict",
)

_MOVES = ("checkpoint", "from", "effective rank", "mean cosine", "norm", "RSA r", "CKA", "same row, cosine", "moved")


def _rows(metrics: dict[str, Any], order: list[str]) -> list[list[Any]]:
    """One row for each matrix of each checkpoint; the last two cells are the verdict's reason and advice."""
    rows = []
    for label in order:
        figures = metrics[label]
        for title, entry in _matrices(label, figures).items():
            keys = ("tokens", "effective_rank", "pretrained_effective_rank", "stable_rank", "mean_cosine")
            cells = [entry[key] for key in (*keys, "rsa_pearson", "rsa_spearman", "verdict", "reason", "advice")]
            rows.append([title, *cells])
    return rows


def _matrices(label: str, figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of each matrix of a checkpoint, by what to call it."""
    if "output" not in figures:
        return {label: figures}
    return {f"{label} (input)": figures, f"{label} (output)": figures["output"]}


def _moves(metrics: dict[str, Any], order: list[str]) -> list[list[Any]]:
    """One row for each matrix of each checkpoint: its figures, and what it kept of the checkpoint before it."""
    keys = ("effective_rank", "mean_cosine", "norm_mean", "rsa_pearson")
    kept = ("cka_to_previous", "cosine_to_previous", "moved_from_previous")
    return [
        [title, entry["previous"] or "–", *(entry[key] for key in (*keys, *kept))]
        for label in order
        for title, entry in _matrices(label, metrics[label]).items()
    ]
