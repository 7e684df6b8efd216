"""`gti extend`: options of the stage `gti_cli.vocabulary.extend`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.commands.common import (
    DEFAULT_WORKSPACE,
    DeviceOption,
    DtypeOption,
    ForceOption,
    JsonOption,
    NoResumeOption,
    QuietOption,
    SeedOption,
    WorkspaceOption,
    finish,
)

if TYPE_CHECKING:
    from gti_cli.manifest import Manifest


def extend(
    model: Annotated[str, typer.Option("--model", "--from", help="A causal LM: hub name, folder or .gguf file.")],
    init: Annotated[str, typer.Option("--init", help="How the new rows start (see below).")] = "mean",
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Table of other new tokens (column `token`), no semantic IDs.")
    ] = None,
    distance: Annotated[
        float,
        typer.Option(
            "--distance",
            help="With text and codebook starts: distance from the mean row, 1 = as pretrained rows; less is quieter.",
        ),
    ] = 0.7,
    measure_effect: Annotated[
        bool,
        typer.Option(
            "--measure-effect/--no-effect",
            help="Measure what the new rows take from ordinary text; without it no model is loaded.",
        ),
    ] = True,
    name: Annotated[str, typer.Option("--name", help="Folder of the checkpoint in the workspace.")] = "extended",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    force: ForceOption = False,
    no_resume: NoResumeOption = False,
) -> None:
    """Add the semantic IDs' tokens (or any others) to a tokenizer and a causal LM.

    Starts: mean (of the old rows), hf-mean (what transformers does), noisy-mean (as LLaMA-Factory), random (their mean
    and covariance), subword (pieces of each token's description), text (words of each code's items), text-lstsq (codes
    that sum to the words of their items), text-permuted (text dealt out anew: a control), codebook (the codebooks'
    geometry, turned towards text).
    """
    console.configure(quiet=quiet, json_output=json_output)
    from gti_cli.vocabulary.extend import extend as stage

    manifest = stage(
        model,
        workspace,
        tokens=tokens,
        init=init,
        distance=distance,
        measure_effect=measure_effect,
        name=name,
        seed=seed,
        device=device,
        dtype=dtype,
        force=force,
        resume=not no_resume,
    )
    _print(manifest)
    finish(manifest, workspace / name)


def _print(manifest: Manifest) -> None:
    counts, metrics = manifest.counts, manifest.metrics
    matrices = [("", "input"), ("head_", "output")] if "head_new_rows_norm" in metrics else [("", "")]
    lines: list[list[object]] = [
        ["new tokens", counts["new_tokens"]],
        ["rows before", counts["rows_before"]],
        ["rows now", counts["rows"]],
        ["new tokens in rows held in reserve", counts["rows_from_reserve"]],
    ]
    for prefix, matrix in matrices:
        of = f", {matrix} matrix" if matrix else ""
        lines += [
            [f"effective rank of the new rows{of}", metrics[f"{prefix}new_rows_effective_rank"]],
            [f"mean norm of the new rows{of}", metrics[f"{prefix}new_rows_norm"]],
            [f"mean norm of pretrained rows{of}", metrics[f"{prefix}pretrained_rows_norm"]],
        ]
    if "kl_to_base" in metrics:
        lines += [
            ["share of ordinary text that the new tokens take", metrics["new_tokens_share"]],
            ["KL to the base model on ordinary text, nats", metrics["kl_to_base"]],
        ]
    title = f"Extended {manifest.details['model']}, start {manifest.details['initializer']}"
    console.table(title, ["", "value"], lines)
