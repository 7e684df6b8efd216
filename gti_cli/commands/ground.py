"""`gti ground`: train the rows of the new tokens on text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, TABLE, CommonOptions, WorkspaceOption, expand_options
from gti_cli.commands.outcome import note_short_run, note_small_movement, print_outcome
from gti_cli.grounding.options import FurtherOptions, ObjectiveOptions, PairsOptions, RowsOptions
from gti_cli.workspace import processes

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _ground(
    pairs_options: PairsOptions,
    rows: RowsOptions,
    further: FurtherOptions,
    objective: ObjectiveOptions,
    common: CommonOptions,
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            metavar=TABLE,
            help="Table of item_id with title, description, or of text, tokens (default: the texts of the items).",
        ),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option(
            "--items",
            metavar=TABLE,
            help="Ground only these new items (item_id): rows of codes that other items have stay as they are.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts", help="Your own wordings of the prompts (a JSON file: system, text->tokens, tokens->text)."
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Checkpoint to start from: of the workspace, or a folder (default: extended)."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Folder for the result in the workspace.")] = "grounded",
    plot: Annotated[
        bool, typer.Option("--plot", help="Also draw the training curves (NAME_curves.png and .svg in the workspace).")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Teach new tokens their meaning: train only their rows on pairs of text and tokens, with the model frozen."""
    from gti_cli.grounding.ground import ground as stage

    common.configure_console()
    manifest = stage(
        workspace,
        pairs=pairs,
        items=items,
        prompts=prompts,
        from_=from_,
        name=name,
        **vars(pairs_options),
        **vars(rows),
        **vars(further),
        **vars(objective),
        **common.run_keywords(),
    )
    _print_summary(manifest)
    if "stopping" in manifest.metrics:
        console.say(f"Training ended because {manifest.metrics['stopping']['reason']}.")
    if plot and processes.rank() == 0:
        from gti_cli.grounding.plot import plot_curves

        for path in plot_curves(workspace, name):
            console.say(str(path))
    if "regression" not in manifest.metrics:  # it has seen all pairs, however few the steps are
        note_short_run(manifest, "pairs", "many new rows are where they started ('gti diagnose' measures it)")
        note_small_movement(manifest)
    print_outcome(manifest, workspace / name)


ground = expand_options(
    _ground,
    {
        PairsOptions: "What to train on",
        RowsOptions: "Training of the rows",
        FurtherOptions: "What else trains",
        ObjectiveOptions: "Objective",
    },
)

_LEVELS = tuple((f"codes of level {n} right, given those before", f"accuracy_level_{n}") for n in range(26))
_BEFORE_AFTER = (
    ("loss text -> tokens, held-out pairs", "loss_to_tokens"),
    ("loss tokens -> text, held-out pairs", "loss_to_text"),
    ("distance of hidden states, token from phrase (0: equal)", "hidden_distance"),
    ("loss of the text after the token, held-out contexts", "loss_following"),
    ("loss of the token itself, held-out contexts", "loss_token"),
    *_LEVELS,
    ("held-out text finds its item, first of all items", "retrieval@1"),
    ("held-out text finds its item, among the first 10", "retrieval@10"),
    ("effective rank of the new rows", "effective_rank"),
    ("effective rank of the output head's new rows", "output_effective_rank"),
    ("agreement with the codebooks (RSA, Pearson)", "rsa_pearson"),
    ("agreement with the codebooks (RSA, Spearman)", "rsa_spearman"),
)
_AFTER_PHRASE = ("loss of the text after the phrase", "loss_following_phrase")
_CONTEXTS = (
    ("contexts from the user's table", "contexts_given"),
    ("contexts from templates", "contexts_template"),
    ("contexts sampled from the model", "contexts_sampled"),
    ("sampled contexts that were empty", "snippets_empty"),
    ("contexts left out because the tokens are not recognized there", "contexts_unusable"),
    ("contexts shortened", "contexts_cut"),
    ("held-out contexts", "held_out_contexts"),
    ("held-out contexts evaluated", "held_out_examples"),
)
_EVALUATED = (("text -> tokens", "held_out_examples_to_tokens"), ("tokens -> text", "held_out_examples_to_text"))


def _print_summary(manifest: Manifest) -> None:
    """Print the measures before and after the training, and the figures of the training."""
    counts, metrics = manifest.counts, manifest.metrics
    columns = {"before": "_before"}  # heading -> end of the figures' names
    if "regression" in metrics and counts["steps"]:
        columns["regression"] = "_regression"
    if "unfrozen_steps" in counts:  # first the rows alone, then all weights
        columns |= {"rows trained": "_frozen", "all trained": ""}
    else:
        columns["after steps" if "regression" in columns else "after"] = ""
    console.table(
        f"Grounded {manifest.details['new_tokens']:,} new tokens of {manifest.details.get('model', 'the checkpoint')}",
        ["", *columns],
        [
            [label, *(metrics[f"{key}{suffix}"] for suffix in columns.values())]
            for label, key in _BEFORE_AFTER
            if key in metrics and f"{key}_before" in metrics
        ],
    )
    if "regression" in metrics:
        _print_regression(metrics["regression"])
    console.table("Training", ["", "figure"], _training_figures(counts, metrics, manifest.run))


def _print_regression(regression: dict[str, Any]) -> None:
    """Print what the regressions of each level came to."""
    console.table(
        "Regressions, by places of answers",
        # The losses are those of all answers' tokens, so they fall as one level after the other is fitted.
        ["places", "rows", "strength of the ridge", "loss so far", "held-out loss so far", "evaluations", "converged"],
        [
            [
                "-".join(str(place) for place in dict.fromkeys([level["places"][0], level["places"][-1]])),
                level["rows"],
                None if level["strength"] is None else f"{level['strength']:g}",
                level["loss"],
                level["held_out_loss"],
                level["evaluations"],
                level["converged"],
            ]
            for level in regression["levels"]
        ],
        dispensable=["rows", "evaluations", "converged"],
    )


def _training_figures(counts: dict[str, int], metrics: dict[str, Any], run: dict[str, Any]) -> list[list[Any]]:
    """Return rows of label and figure; figures that this run does not have are left out."""
    stopping = metrics.get("stopping", {})
    rows: list[list[Any]] = [
        *[[f"pairs by {name}", counts.get(f"pairs_{name}")] for name in ("title", "description", "both", "text")],
        *[[label, counts.get(key)] for label, key in _CONTEXTS],
        [_AFTER_PHRASE[0], metrics.get(_AFTER_PHRASE[1])],
        ["held-out pairs", counts.get("held_out_pairs")],
        ["new tokens that stand in no pair", counts.get("tokens_without_pair") or None],
        *[[f"held-out examples evaluated, {direction}", counts.get(key)] for direction, key in _EVALUATED],
        ["chance of finding an item among the first 10", metrics.get("retrieval_chance@10")],
        ["rows without any text", counts["rows_without_text"]],
        ["texts shortened", counts["texts_cut"]],
        ["seconds of the regression", run.get("regression_seconds")],
        ["seconds of its passes of the model", run.get("regression_pass_seconds")],
        ["its passes of the model", run.get("regression_passes")],
        ["seconds of its solver", run.get("regression_solver_seconds")],
        ["peak memory of the process, MiB", _mebibytes(run) if "regression" in metrics else None],
        ["steps", counts["steps"]],
        ["step of the saved rows", stopping.get("best_step")],
        ["steps with every weight trained", counts.get("unfrozen_steps")],
        ["passes over the pairs", metrics["epochs"]],
        ["training loss (last tenth of the steps)", metrics.get("train_loss")],
        ["movement of the rows per coordinate", metrics["rows_moved"]],
        ["distance between pretrained rows per coordinate", metrics.get("pretrained_rows_spread")],
        ["examples per second", run.get("examples_per_second")],
        ["frozen weights", run.get("weights")],
        ["frozen weights on this process", run.get("weights_held")],
    ]
    return [row for row in rows if row[1] is not None]


def _mebibytes(run: dict[str, Any]) -> int | None:
    """Peak memory of a run in MiB, where the system tells it."""
    peak = run.get("peak_memory_bytes")
    return None if peak is None else round(peak / 2**20)
