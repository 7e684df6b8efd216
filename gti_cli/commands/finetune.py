"""`gti finetune`: options -> stage -> what it came to."""

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

_LORA = "LoRA"


def finetune(
    interactions: Annotated[
        Path, typer.Option("--interactions", help="Table of user_id, item_id, timestamp; split if you have it.")
    ],
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Checkpoint to start from: name or folder (default: grounded)."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Folder of the result in the workspace.")] = "finetuned",
    epochs: Annotated[float, typer.Option("--epochs", help="Passes over the training targets.")] = 3.0,
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="Steps; overrides --epochs.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Targets in a step.")] = 128,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Peak learning rate.")] = 5e-4,
    rows_learning_rate: Annotated[
        float | None, typer.Option("--rows-learning-rate", help="Another one for the new rows.")
    ] = None,
    history: Annotated[int, typer.Option("--history", help="Most items shown before a target.")] = 20,
    targets: Annotated[
        str, typer.Option("--targets", help="all: every item after the first; last: a user's last one.")
    ] = "all",
    valid_sample: Annotated[
        int, typer.Option("--valid-sample", help="Validation targets that the loss is measured on.")
    ] = 2000,
    validations: Annotated[
        int, typer.Option("--validations", help="Times to validate by NDCG@10 on the way; the best weights are kept.")
    ] = 0,
    patience: Annotated[
        int | None, typer.Option("--patience", help="Stop after as many validations without a better one.")
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third slower.")
    ] = False,
    lora: Annotated[
        bool,
        typer.Option(
            "--lora",
            help="Train adapters and the new rows; pretrained rows stay as they are.",
            rich_help_panel=_LORA,
        ),
    ] = False,
    lora_r: Annotated[int, typer.Option("--lora-r", help="Rank.", rich_help_panel=_LORA)] = 8,
    lora_alpha: Annotated[float, typer.Option("--lora-alpha", help="Scale.", rich_help_panel=_LORA)] = 32,
    lora_dropout: Annotated[float, typer.Option("--lora-dropout", help="Dropout.", rich_help_panel=_LORA)] = 0.05,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    force: ForceOption = False,
    no_resume: NoResumeOption = False,
) -> None:
    """Fine-tune the model to name a user's next item, as a semantic ID."""
    from gti_cli.recommendation.finetune import finetune as stage

    console.configure(quiet=quiet, json_output=json_output)
    manifest = stage(
        interactions,
        workspace,
        from_=from_,
        name=name,
        epochs=epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        rows_learning_rate=rows_learning_rate,
        lora=lora,
        lora_r=lora_r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        history=history,
        targets=targets,
        valid_sample=valid_sample,
        validations=validations,
        patience=patience,
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        device=device,
        dtype=dtype,
        force=force,
        resume=not no_resume,
    )
    counts, metrics, run = manifest.counts, manifest.metrics, manifest.run
    console.table(
        f"Fine-tuned on {counts['train_targets']:,} targets of {counts['train_users']:,} users",
        ["", "figure"],
        [
            ["steps", counts["steps"]],
            ["passes over the targets", metrics["epochs"]],
            ["targets whose history was cut", counts["cut_targets"]],
            ["training loss (last tenth of the steps)", metrics["train_loss"]],
            ["validation loss before", metrics.get("valid_loss_before")],
            ["validation loss after", metrics.get("valid_loss")],
            ["validation targets used", counts["valid_targets_used"]],
            *([["best NDCG@10 on validation users", metrics["valid_ndcg@10"]]] if "valid_ndcg@10" in metrics else []),
            *([["at step", counts["best_step"]]] if "best_step" in counts else []),
            ["new rows: way they can go / way between pretrained rows", metrics["rows_travel_ratio"]],
            ["new rows: way they went (per coordinate)", metrics["new_rows_moved"]],
            ["targets per second", run.get("targets_per_second")],
            ["tokens per second", run.get("tokens_per_second")],
        ],
    )
    finish(manifest, workspace / name)
