"""`gti extend`: options of the stage `gti_cli.vocabulary.extend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


def extend(
    model: Annotated[str, typer.Option("--model", "--from", help="A causal LM: hub name or folder.")],
    init: Annotated[str, typer.Option("--init", help="How the new rows start (see below).")] = "mean",
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Table of other new tokens (column `token`), no semantic IDs.")
    ] = None,
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
    and covariance), subword (pieces of each token's description), text (words of each code's items), codebook (the
    codebooks' geometry, turned towards text).
    """
    console.configure(quiet=quiet, json_output=json_output)
    from gti_cli.vocabulary.extend import extend as stage

    manifest = stage(
        model,
        workspace,
        tokens=tokens,
        init=init,
        name=name,
        seed=seed,
        device=device,
        dtype=dtype,
        force=force,
        resume=not no_resume,
    )
    counts = manifest.counts
    console.table(
        f"Extended {manifest.details['model']}",
        [
            "new tokens",
            "rows before",
            "rows now",
            "from reserve",
            "start",
            "their share of ordinary text",
            "KL to base",
        ],
        [
            [
                counts["new_tokens"],
                counts["rows_before"],
                counts["rows"],
                counts["rows_from_reserve"],
                manifest.details["initializer"],
                manifest.metrics["new_tokens_share"],
                manifest.metrics["kl_to_base"],
            ]
        ],
    )
    finish(manifest, workspace / name)
