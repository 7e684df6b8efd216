"""`gti extend`: options of the stage `gti_cli.vocabulary.extend`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, CommonOptions, WorkspaceOption, expand_options
from gti_cli.commands.outcome import print_outcome
from gti_cli.vocabulary.options import StartOptions

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _extend(
    model: Annotated[str, typer.Option("--model", "--from", help="A causal LM: hub name, folder or .gguf file.")],
    start: StartOptions,
    common: CommonOptions,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Table of other new tokens (column `token`), no semantic IDs.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Folder of the checkpoint in the workspace.")] = "extended",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Add the semantic IDs' tokens (or any others) to a tokenizer and a causal LM.

    Starts: mean (of the old rows), hf-mean (what transformers does), noisy-mean (as LLaMA-Factory), random (their mean
    and covariance), subword (pieces of each token's description), text (words of each code's items), text-lstsq (codes
    that sum to the words of their items), text-permuted (text dealt out anew: a control), codebook (the codebooks'
    geometry, turned towards text).
    """
    from gti_cli.vocabulary.extend import extend as stage

    common.configure_console()
    manifest = stage(model, workspace, tokens=tokens, name=name, **vars(start), **common.run_keywords())
    _print(manifest)
    print_outcome(manifest, workspace / name)


extend = expand_options(_extend, {StartOptions: "How new rows start"})


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
