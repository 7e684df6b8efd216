"""`gti extend`: add new tokens to a tokenizer and a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.commands.options import (
    DEFAULT_WORKSPACE,
    TABLE,
    CommonOptions,
    WorkspaceOption,
    expand_options,
    with_revision,
)
from gti_cli.commands.outcome import print_outcome
from gti_cli.vocabulary.options import StartOptions

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _extend(
    model: Annotated[
        str, typer.Option("--model", "--from", help="A causal language model: hub name, folder or .gguf file.")
    ],
    start: StartOptions,
    common: CommonOptions,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            metavar=TABLE,
            help="Table with a column `token`: add these tokens instead of the semantic IDs' tokens.",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit of a model on the hub (default: main).")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Folder for the checkpoint in the workspace.")] = "extended",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Add the semantic IDs' tokens (or any others) to a tokenizer and a causal language model.

    The new rows start from, by --init:

    mean: the mean of the pretrained rows
    hf-mean: that mean with very little noise, as transformers does
    noisy-mean: that mean with more noise, as LLaMA-Factory does
    random: draws with the mean and covariance of the pretrained rows
    subword: the mean over the pieces of each token's description
    text: the texts of the items that have the code
    text-lstsq: rows whose sum over an item's codes fits its text, by least squares
    text-permuted: the rows of text in another order (a control)
    codebook: the geometry of the codebooks, rotated towards the texts
    """
    from gti_cli.vocabulary.extend import extend as stage

    common.configure_console()
    model = with_revision(model, revision, workspace)
    manifest = stage(model, workspace, tokens=tokens, name=name, **vars(start), **common.run_keywords())
    _print_summary(manifest)
    print_outcome(manifest, workspace / name)


extend = expand_options(_extend, {StartOptions: "How new rows start"})


def _print_summary(manifest: Manifest) -> None:
    """Print the numbers of rows and their norms, and how much the model has changed on ordinary text."""
    counts, metrics = manifest.counts, manifest.metrics
    # Tied models have one matrix; untied ones have separate metrics for the output head.
    matrices = [("", "input"), ("head_", "output")] if "head_new_rows_norm" in metrics else [("", "")]
    lines: list[list[object]] = [
        ["new tokens", counts["new_tokens"]],
        ["rows before", counts["rows_before"]],
        ["rows after", counts["rows"]],
        ["new tokens that use spare rows of the model", counts["rows_from_reserve"]],
    ]
    for prefix, matrix in matrices:
        suffix = f", {matrix} matrix" if matrix else ""
        lines += [
            [f"effective rank of the new rows{suffix}", metrics[f"{prefix}new_rows_effective_rank"]],
            [f"mean norm of the new rows{suffix}", metrics[f"{prefix}new_rows_norm"]],
            [f"mean norm of pretrained rows{suffix}", metrics[f"{prefix}pretrained_rows_norm"]],
        ]
    if "old_words_changed" in counts:
        lines.append(["words of the vocabulary tokenised otherwise", counts["old_words_changed"]])
    if "kl_to_base" in metrics:
        lines += [
            ["probability of new tokens on ordinary text", metrics["new_tokens_share"]],
            ["KL divergence from the base model on ordinary text, nats", metrics["kl_to_base"]],
        ]
    title = f"Extended {manifest.details['model']}, start {manifest.details['initializer']}"
    console.table(title, ["", "value"], lines)
