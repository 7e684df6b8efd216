"""`gti ground`: options -> stage -> what it came to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console, processes
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


def ground(
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            help="Table of item_id with title, description, or of text, tokens (default: the items' own texts).",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            help="Own wordings of the questions (a JSON file; see prompts/templates.py).",
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Checkpoint to start from: of the workspace, or a folder (default: extended)."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Folder of the result in the workspace.")] = "grounded",
    epochs: Annotated[float, typer.Option("--epochs", help="Passes over the pairs.")] = 10.0,
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="Steps; overrides --epochs.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Examples in a step, over all processes.")] = 16,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Peak learning rate.")] = 1e-3,
    directions: Annotated[
        str, typer.Option("--directions", help="both, to-tokens (text -> tokens) or to-text (tokens -> text).")
    ] = "both",
    held_out: Annotated[float, typer.Option("--held-out", help="Share of the pairs that is not trained on.")] = 0.05,
    retrieval_sample: Annotated[
        int, typer.Option("--retrieval-sample", help="How many held-out texts to find among all items (0: none).")
    ] = 500,
    max_text_tokens: Annotated[
        int, typer.Option("--max-text-tokens", help="Longer titles and descriptions are cut (and counted).")
    ] = 128,
    held_out_sample: Annotated[
        int, typer.Option("--held-out-sample", help="Most held-out examples of a direction that are evaluated.")
    ] = 2000,
    eval_every: Annotated[
        int | None, typer.Option("--eval-every", help="Steps between evaluations (default: about ten in a run).")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option("--patience", help="Stop after so many evaluations without a lower held-out loss; keep the best."),
    ] = None,
    lora: Annotated[
        bool, typer.Option("--lora", help="Train adapters of the frozen model beside the new rows; merged at the end.")
    ] = False,
    lora_r: Annotated[int, typer.Option("--lora-r", help="Rank of the adapters.")] = 8,
    lora_alpha: Annotated[float, typer.Option("--lora-alpha", help="Scale of the adapters.")] = 32,
    lora_dropout: Annotated[float, typer.Option("--lora-dropout", help="Dropout of the adapters.")] = 0.05,
    lora_learning_rate: Annotated[
        float, typer.Option("--lora-learning-rate", help="Peak learning rate of the adapters.")
    ] = 2e-4,
    unfreeze_steps: Annotated[
        int, typer.Option("--unfreeze-steps", help="Then so many steps with every weight trained (0: none).")
    ] = 0,
    unfreeze_learning_rate: Annotated[
        float, typer.Option("--unfreeze-learning-rate", help="Peak learning rate of these steps.")
    ] = 1e-4,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third slower; the same result.")
    ] = False,
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            help="nll (pairs in both directions), or distil: hidden states behind a token as behind its phrase.",
        ),
    ] = "nll",
    distil_layer: Annotated[
        int | None, typer.Option("--distil-layer", help="Layer whose hidden states are compared (default: the last).")
    ] = None,
    distil_nll_weight: Annotated[
        float, typer.Option("--distil-nll-weight", help="Weight of the log-likelihood beside the hidden states.")
    ] = 0.0,
    distil_snippets: Annotated[
        int, typer.Option("--distil-snippets", help="Contexts for each phrase that the model writes itself.")
    ] = 0,
    plot: Annotated[
        bool, typer.Option("--plot", help="Also draw the curves (NAME_curves.png and .svg in the workspace).")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    force: ForceOption = False,
    no_resume: NoResumeOption = False,
) -> None:
    """Teach new tokens what they mean: train their rows alone on pairs of text and tokens, the model frozen."""
    from gti_cli.grounding.ground import ground as stage

    console.configure(quiet=quiet, json_output=json_output)
    manifest = stage(
        workspace,
        pairs=pairs,
        prompts=prompts,
        from_=from_,
        name=name,
        epochs=epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        directions=directions,
        held_out=held_out,
        retrieval_sample=retrieval_sample,
        max_text_tokens=max_text_tokens,
        held_out_sample=held_out_sample,
        eval_every=eval_every,
        patience=patience,
        lora=lora,
        lora_r=lora_r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        lora_learning_rate=lora_learning_rate,
        unfreeze_steps=unfreeze_steps,
        unfreeze_learning_rate=unfreeze_learning_rate,
        gradient_checkpointing=gradient_checkpointing,
        objective=objective,
        distil_layer=distil_layer,
        distil_nll_weight=distil_nll_weight,
        distil_snippets=distil_snippets,
        seed=seed,
        device=device,
        dtype=dtype,
        force=force,
        resume=not no_resume,
    )
    _show(manifest)
    if "stopping" in manifest.metrics:
        console.say(f"Training ended because {manifest.metrics['stopping']['reason']}.")
    if plot and processes.rank() == 0:
        from gti_cli.grounding.plot import plot_curves

        for path in plot_curves(workspace, name):
            console.say(str(path))
    finish(manifest, workspace / name)


_LEVELS = tuple((f"codes of level {n} right, given those before", f"accuracy_level_{n}") for n in range(26))
_BEFORE_AFTER = (
    ("loss text -> tokens, held-out pairs", "loss_to_tokens"),
    ("loss tokens -> text, held-out pairs", "loss_to_text"),
    ("distance of hidden states, token from phrase (0: equal)", "hidden_distance"),
    ("loss of the text behind the token, held-out contexts", "loss_following"),
    ("loss of the token itself, held-out contexts", "loss_token"),
    *_LEVELS,
    ("held-out text finds its item, first of all items", "retrieval@1"),
    ("held-out text finds its item, among the first 10", "retrieval@10"),
    ("effective rank of the new rows", "effective_rank"),
    ("effective rank of the head's new rows", "output_effective_rank"),
    ("agreement with the codebooks (RSA, Pearson)", "rsa_pearson"),
    ("agreement with the codebooks (RSA, Spearman)", "rsa_spearman"),
)
_OF_PHRASE = ("loss of that text behind the phrase", "loss_following_phrase")
_CONTEXTS = (
    ("contexts given", "contexts_given"),
    ("contexts of ours", "contexts_template"),
    ("contexts sampled from the model", "contexts_sampled"),
    ("sampled contexts that came out empty", "snippets_empty"),
    ("contexts in which the tokens read as others", "contexts_unusable"),
    ("contexts cut", "contexts_cut"),
    ("held-out contexts", "held_out_contexts"),
    ("held-out contexts evaluated", "held_out_examples"),
)
_EVALUATED = (("text -> tokens", "held_out_examples_to_tokens"), ("tokens -> text", "held_out_examples_to_text"))


def _show(manifest: Manifest) -> None:
    counts, metrics, run = manifest.counts, manifest.metrics, manifest.run
    two, divided = "unfrozen_steps" in counts, "weights_held" in run
    forms = [name for name in ("title", "description", "both", "text") if f"pairs_{name}" in counts]
    console.table(
        f"Grounded {manifest.details['new_tokens']:,} new tokens of {manifest.details.get('model', 'the checkpoint')}",
        ["", "before", *(["rows trained", "all trained"] if two else ["after"])],
        [
            [label, metrics[f"{key}_before"], *([metrics[f"{key}_frozen"]] if two else []), metrics[key]]
            for label, key in _BEFORE_AFTER
            if key in metrics and f"{key}_before" in metrics
        ],
    )
    console.table(
        "What it took",
        ["", "figure"],
        [
            *[[f"pairs by {name}", counts[f"pairs_{name}"]] for name in forms],
            *[[label, counts[key]] for label, key in _CONTEXTS if key in counts],
            *[[label, metrics[key]] for label, key in (_OF_PHRASE,) if key in metrics],
            *([["held-out pairs", counts["held_out_pairs"]]] if "held_out_pairs" in counts else []),
            *[
                [f"held-out examples evaluated, {direction}", counts[key]]
                for direction, key in _EVALUATED
                if key in counts
            ],
            *(
                [["chance of finding an item among the first 10", metrics["retrieval_chance@10"]]]
                if "retrieval_chance@10" in metrics
                else []
            ),
            ["rows without any text", counts["rows_without_text"]],
            ["texts cut", counts["texts_cut"]],
            ["steps", counts["steps"]],
            *([["step whose rows are kept", metrics["stopping"]["best_step"]]] if "stopping" in metrics else []),
            *([["steps with every weight trained", counts["unfrozen_steps"]]] if two else []),
            ["passes over the pairs", metrics["epochs"]],
            ["training loss (last tenth of the steps)", metrics["train_loss"]],
            ["way that the rows went (per coordinate)", metrics["rows_moved"]],
            ["examples per second", run.get("examples_per_second")],
            *(
                [["frozen weights", run["weights"]], ["of them on this process", run["weights_held"]]]
                if divided
                else []
            ),
        ],
    )
