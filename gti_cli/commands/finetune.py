"""`gti finetune`: train the model to recommend items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.commands.options import (
    DEFAULT_WORKSPACE,
    TABLE,
    AdapterOptions,
    CommonOptions,
    WorkspaceOption,
    expand_options,
)
from gti_cli.commands.outcome import note_short_run, print_outcome
from gti_cli.recommendation.options import LoRAOptions, TaskOptions, TrainingOptions
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import check_output_name, processes

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _finetune(
    tasks: TaskOptions,
    reading: InteractionOptions,
    training: TrainingOptions,
    lora: LoRAOptions,
    adapter: AdapterOptions,
    common: CommonOptions,
    interactions: Annotated[
        str | None,
        typer.Option(
            "--interactions", metavar=TABLE, help="Table of user_id, item_id, timestamp and optionally split."
        ),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            metavar=TABLE,
            help="Table of query, item_id, relevance (2 is trained on) and optionally query_id, split.",
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Checkpoint to start from: name or folder (default: grounded)."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Folder for the result in the workspace.")] = "finetuned",
    hold_out_items: Annotated[
        str | None,
        typer.Option(
            "--hold-out-items",
            metavar="SHARE|TABLE",
            help="Hide all interactions with some items, to measure cold starts: a share (0.1), or a table of item_id.",
        ),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Also draw the training (NAME_training.png and .svg in the workspace).")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Fine-tune the model to generate the semantic ID of a user's next item, or of an item for a query."""
    from gti_cli.recommendation.finetune import finetune as stage

    common.configure_console()
    check_output_name(name, default="finetuned", start=adapter.merge_into)  # before the merged checkpoint is written
    start, base = adapter.merged([from_] if from_ is not None else [], workspace, common)
    manifest = stage(
        interactions,
        workspace,
        queries=queries,
        from_=start[0] if start else None,
        base=base,
        name=name,
        hold_out_items=hold_out_items,
        **vars(tasks),
        **vars(reading),
        **vars(training),
        **vars(lora),
        **common.run_keywords(),
    )
    print_summary(manifest)
    if plot and processes.rank() == 0:
        from gti_cli.recommendation.plot import plot_training

        for path in plot_training(workspace, name):
            console.say(str(path))
    note_short_run(manifest, "targets", "it may rank items worse than popularity does ('gti evaluate' shows both)")
    print_outcome(manifest, workspace / name)


finetune = expand_options(
    _finetune,
    {
        TaskOptions: "What to train on",
        InteractionOptions: "Interactions",
        TrainingOptions: "Training",
        LoRAOptions: "LoRA",
        AdapterOptions: "Adapters (PEFT)",
    },
)


def print_summary(manifest: Manifest) -> None:
    """Print the losses of each task and the figures of the training."""
    counts, metrics, run = manifest.counts, manifest.metrics, manifest.run
    console.table(
        "Tasks",
        ["task", "targets", "seen", "passes", "validation loss before", "after"],
        [
            [
                name,
                task["targets"],
                task["targets_seen"],
                task["passes"],
                task.get("valid_loss_before"),
                task.get("valid_loss"),
            ]
            for name, task in metrics["tasks"].items()
        ],
    )
    cut = {
        "cut_targets": "targets whose history was shortened",
        "search_queries_cut": "queries shortened",
        "lc_rec_texts_cut": "texts shortened",
    }
    console.table(
        "Fine-tuning",
        ["", "figure"],
        [
            ["steps", counts["steps"]],
            ["passes over the targets", metrics["epochs"]],
            *([words, counts[name]] for name, words in cut.items() if name in counts),
            ["training loss (last tenth of the steps)", metrics["train_loss"]],
            *([["best NDCG@10 in validation", metrics["valid_ndcg@10"]]] if "valid_ndcg@10" in metrics else []),
            *([["at step", counts["best_step"]]] if "best_step" in counts else []),
            ["new rows: largest possible movement / distance between pretrained rows", metrics["rows_travel_ratio"]],
            ["new rows: movement per coordinate", metrics["new_rows_moved"]],
            ["targets per second", run.get("targets_per_second")],
            ["tokens per second", run.get("tokens_per_second")],
        ],
    )
