"""The training of ``ground``, from the checked job to the saved checkpoint.

`train_and_save` shows the order of events. Comes after `ground`, which checks the inputs. `nll.task` or `distil.task`
gathers what the objective needs, `unfreeze` is the optional second phase.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch

from gti_cli import console, tables
from gti_cli.checkpoints.limits import count_used_rows
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.new_tokens import check_tokenizer
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.grounding.distil.task import distil_task
from gti_cli.grounding.evaluations import HELD_OUT_LOSS, Evaluation, evaluation_steps, stopping_status, trajectory
from gti_cli.grounding.job import GroundingJob, GroundingTask
from gti_cli.grounding.nll.corpus import Corpus
from gti_cli.grounding.nll.gradient_checkpointing import checkpointed
from gti_cli.grounding.nll.task import nll_task, split_pairs
from gti_cli.grounding.options import DISTIL, RATE_AFTER_REGRESSION, REGRESSION
from gti_cli.grounding.plot import TRAJECTORY
from gti_cli.grounding.regression.regress import regress
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.priors.stored_prior import keep_prior
from gti_cli.training.batches.batch_plan import BatchPlan, SharedPlan
from gti_cli.training.batches.stored_examples import example_lengths
from gti_cli.training.callbacks.best import BestState
from gti_cli.training.rows_learning_rate import default_rows_rate, pretrained_spread
from gti_cli.training.sharding import count_weights, load_sharded
from gti_cli.training.trainer import PlannedTrainer, last_tenth_loss
from gti_cli.workspace import StageRun, processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

    from gti_cli.grounding.distil.batches import DistilCorpus
    from gti_cli.training.lora import Adapters


def train_and_save(job: GroundingJob, run: StageRun, folder: Path) -> None:
    """Train, and write the checkpoint.

    Args:
        job: The run.
        run: Receives counts and figures.
        folder: Where to write the checkpoint, its trajectory and the objective's tables.

    Raises:
        InputError: When the checkpoint, the table or the options cannot be used together.
    """
    from transformers import AutoConfig

    from gti_cli.checkpoints.devices import describe, seed_everything

    run.device = describe(job.device)
    seed_everything(job.seed)
    tokenizer = load_tokenizer(job.checkpoint.path)
    check_tokenizer(tokenizer, job.new_tokens)
    # Loading the model takes longest, so pairs that cannot be used are refused before it.
    pairs = None if job.options.objective == DISTIL else split_pairs(job, run, tokenizer)
    model = _load_frozen(job, run)
    rows = NewRows(model, torch.tensor(job.trained_tokens.ids), torch.tensor(job.new_tokens.ids))
    job = _with_learning_rate(job, run, model, count_used_rows(tokenizer))
    rows_before = rows.trained()
    with rows.attached(), checkpointed(model) if job.options.gradient_checkpointing else nullcontext():
        adapters = _add_adapters(job, model)
        if pairs is None:
            task = distil_task(job, run, model, rows, tokenizer)
        else:
            task = nll_task(job, run, model, rows, adapters, tokenizer, pairs)
        curve = _train_rows(job, run, task)
        objective_tables = task.tables
    run.metrics.update(_distance_moved(rows_before, rows.trained()))
    saved_dtype = AutoConfig.from_pretrained(job.checkpoint.path, trust_remote_code=False).dtype or torch.float32
    if pairs is not None and job.options.unfreeze_steps:
        from gti_cli.grounding.unfreeze import train_unfrozen

        final = _assemble(job, rows, adapters, job.device, torch.float32)
        del model, rows, adapters, task  # All of them refer to the frozen model, whose memory is needed now.
        curve = train_unfrozen(job, run, final, tokenizer, pairs, curve)
        cast("Any", final).to(saved_dtype)
    elif processes.rank() == 0:
        final = _assemble(job, rows, adapters, torch.device("cpu"), saved_dtype)
    run.details["saved_dtype"] = str(saved_dtype).removeprefix("torch.")
    if processes.rank():
        return  # the first process writes for all
    save_checkpoint(folder, final, tokenizer, job.new_tokens)
    keep_prior(job.checkpoint, folder, run)
    if job.new_items is not None:
        run.counts.update(new_items=len(job.new_items.items), rows_trained=len(job.new_items.rows))
    for name, columns in {TRAJECTORY: curve, **objective_tables}.items():
        tables.write(folder / name, columns)


def _load_frozen(job: GroundingJob, run: StageRun) -> PreTrainedModel:
    """Load the model to freeze. With sharding, this process holds a part of it, whose size goes to ``run``."""
    if job.sharding is None:
        return load_model(job.checkpoint.path, job.device, job.dtype)
    model = load_sharded(job.checkpoint.path, job.device, job.dtype, job.sharding)
    run.measured["weights"], run.measured["weights_held"] = count_weights(model)
    run.measured["sharding"] = job.sharding.name
    console.note(f"{job.sharding.name}: each process holds {run.measured['weights_held']:,} of the frozen weights")
    return model


def _with_learning_rate(job: GroundingJob, run: StageRun, model: PreTrainedModel, height: int) -> GroundingJob:
    """The job with a learning rate: the option's or, without one, a rate that fits the embedding matrix.

    ``height`` is the number of the matrix's rows that have a token. The chosen rate goes to ``run``, and the distance
    between pretrained rows.
    """
    embedding: Any = model.get_input_embeddings()
    spread = pretrained_spread(embedding.weight, job.new_tokens.ids, height)
    if math.isfinite(spread):
        run.metrics["pretrained_rows_spread"] = spread
    if job.options.learning_rate is not None:
        return job
    rate = default_rows_rate(embedding.weight, job.new_tokens.ids, height, "--learning-rate")
    rate *= RATE_AFTER_REGRESSION if job.options.solver == REGRESSION else 1.0
    run.metrics["learning_rate"] = rate
    return replace(job, options=replace(job.options, learning_rate=rate))


def _learning_rate(job: GroundingJob) -> float:
    """The learning rate that `_with_learning_rate` has put into the options."""
    return cast("float", job.options.learning_rate)


def _add_adapters(job: GroundingJob, model: PreTrainedModel) -> Adapters | None:
    """Put LoRA adapters into ``model`` if the options say so.

    Call this after `NewRows`, which freezes every parameter that ``model`` has by then.
    """
    from gti_cli.training.lora import Adapters

    options = job.options
    if not options.lora:
        return None
    adapters = Adapters(model, rank=options.lora_r, alpha=options.lora_alpha, dropout=options.lora_dropout)
    count = sum(parameter.numel() for parameter in adapters.parameters())
    console.note(f"adapters with {count:,} weights train beside the new rows and are merged into the model at the end")
    return adapters


def _train_rows(job: GroundingJob, run: StageRun, task: GroundingTask) -> dict[str, list[Any]]:
    """Train new rows (and adapters), measure before, during and after; returns the columns of the trajectory."""
    options, measures = job.options, task.measures
    lengths = task.collator.corpus.computed_lengths()
    plan = None
    if options.any_steps:
        plan = BatchPlan(
            lengths,
            [1] * len(lengths),  # each example counts as one target, so ``size`` is a number of examples
            size=options.batch_size,
            epochs=options.passes,
            max_steps=options.steps,
            seed=job.seed,
        )
    # Arguments open the process group, through which even a run without steps exchanges sums.
    arguments = _training_arguments(job, run, len(plan) if plan is not None else 1)
    before, everything = _measured(run, task, "_before")
    if options.solver == REGRESSION:
        regress(job, run, task)
        before, everything = _measured(run, task, "_regression")
    if plan is None:
        run.counts.update(steps=0, steps_planned=0, examples_seen=0)
        run.metrics.update({**everything, "epochs": 0.0})
        return trajectory([], before)
    trainer, first_step = _take_steps(job, run, task, plan, arguments)
    _report(run, trainer, plan, task.collator.corpus, first_step)
    run.metrics.update({**measures.curve_figures(), **measures.retrieval_figures()})
    if options.solver == REGRESSION:
        _compare_with_regression(run)
    return trajectory(trainer.state.log_history, before)


def _measured(
    run: StageRun, task: GroundingTask, suffix: str
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Measure the rows as they are; the figures go to ``run``. Those of the curve are returned, and all of them."""
    figures = task.measures.curve_figures()
    # A constant figure (retrieval by chance) is the same before and after training, so it is reported once, without
    # "_before".
    everything = {**figures, **task.measures.retrieval_figures()}
    run.metrics.update({f"{name}{suffix}": value for name, value in everything.items() if name not in task.constant})
    return figures, everything


def _compare_with_regression(run: StageRun) -> None:
    """Say so where the gradient steps have undone a part of the regression."""
    regression, steps = (run.metrics.get(f"{HELD_OUT_LOSS}{suffix}") for suffix in ("_regression", ""))
    if regression is not None and steps is not None and steps > regression:
        console.warn(
            f"the gradient steps raised the held-out loss, from {regression:.4f} after the regression to {steps:.4f}: "
            "a lower --learning-rate, or --max-steps 0 for none"
        )


def _take_steps(
    job: GroundingJob, run: StageRun, task: GroundingTask, plan: BatchPlan, arguments: TrainingArguments
) -> tuple[PlannedTrainer, int]:
    """Train by gradient steps, or go on after those of an interrupted run; the number of these is returned, too."""
    from gti_cli.training.adamw import adamw
    from gti_cli.training.arguments import last_checkpoint, train_or_resume
    from gti_cli.training.callbacks.divergence import end_if_diverged
    from gti_cli.training.callbacks.progress import show_progress
    from gti_cli.training.callbacks.tracking import logs_in

    options, trained, measures = job.options, task.trained, task.measures
    rate = options.lora_learning_rate if options.lora else _learning_rate(job)
    optimizer = adamw(trained, rate, rows=list(trained.rows.parameters()), rows_rate=_learning_rate(job))
    with logs_in(job.logs):
        shared = SharedPlan(plan, arguments.world_size, arguments.process_index)
        count = len(task.collator.corpus.examples)
        trainer = PlannedTrainer(trained, arguments, task.collator, shared, count, optimizer)
    show_progress(trainer, "Grounding")
    # Diverged rows must end the run before they are measured, so this callback is added first.
    evaluated_steps = evaluation_steps(len(plan), options.eval_every, measures.examples, options.batch_size)
    end_if_diverged(trainer, "--learning-rate" + (" or --lora-learning-rate" if options.lora else ""), evaluated_steps)
    best = BestState(trained, run.scratch) if options.patience is not None else None
    trainer.add_callback(Evaluation(measures.curve_figures, evaluated_steps, best, options.patience))
    resumed_from = last_checkpoint(run.scratch) if run.resuming else None
    train_or_resume(
        trainer,
        resumed_from,
        lambda log: options.patience is not None and stopping_status(log, options.patience)["stopped"],
    )
    if best is not None and options.patience is not None:
        best.restore()
        run.metrics["stopping"] = stopping_status(trainer.state.log_history, options.patience)
    return trainer, int(resumed_from.rpartition("-")[2]) if resumed_from else 0


def _training_arguments(job: GroundingJob, run: StageRun, steps: int) -> TrainingArguments:
    from gti_cli.training.arguments import planned_arguments

    return planned_arguments(
        run.scratch,
        steps,
        batch_size=job.options.batch_size,
        learning_rate=_learning_rate(job),
        seed=job.seed,
        device=job.device,
        max_grad_norm=0.0,  # Algorithm 1 does not clip gradients
        report_to=job.report_to,
        run_name=job.name,
    )


def _report(
    run: StageRun, trainer: PlannedTrainer, plan: BatchPlan, corpus: Corpus | DistilCorpus, first_step: int
) -> None:
    """Report losses and counts of the whole run, and the speed of this attempt, which began at ``first_step``."""
    history = trainer.state.log_history
    run.metrics["train_loss"] = last_tenth_loss(history)
    steps = trainer.state.global_step  # fewer than planned after an early stop
    examples_seen = sum(len(batch) for batch in plan.steps[:steps])
    run.metrics["epochs"] = examples_seen / len(corpus.examples)
    run.counts.update(steps=steps, steps_planned=len(plan), examples_seen=examples_seen)
    seconds = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), 0.0)
    seen_now = [n for batch in plan.steps[first_step:steps] for n in batch.tolist()]
    if seconds and seen_now:
        run.measured["train_seconds"] = seconds
        run.measured["examples_per_second"] = len(seen_now) / seconds
        tokens = example_lengths(corpus.examples)
        run.measured["tokens_per_second"] = sum(tokens[n] for n in seen_now) / seconds


def _distance_moved(
    before: Mapping[str, npt.NDArray[np.float32]], after: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, float]:
    """Root mean square of the change of a coordinate, for each matrix of `NewRows.matrices`."""
    return {f"{name}rows_moved": float(np.sqrt(np.mean((rows - before[name]) ** 2))) for name, rows in after.items()}


def _assemble(
    job: GroundingJob, rows: NewRows, adapters: Adapters | None, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """The model of the start checkpoint with the trained rows in it and adapters merged; no other bit differs."""
    model = load_model(job.checkpoint.path, device, dtype)
    rows.write_into(model)
    if adapters is not None:
        adapters.merge_into(model)
    return model
