"""The training of ``ground``: model, new rows, Trainer, and what is measured before and after."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from gti_cli import console, tables
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.new_tokens import check_tokenizer, known_height
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.errors import InputError
from gti_cli.grounding.distil.task import distil_task
from gti_cli.grounding.job import Job
from gti_cli.grounding.measures import matrices, measures_of
from gti_cli.grounding.nll.batches import Collator, Corpus
from gti_cli.grounding.nll.checkpointing import checkpointed
from gti_cli.grounding.nll.corpus import corpus_of
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.options import DISTIL
from gti_cli.grounding.pairs import Texts, hold_out, make_pairs
from gti_cli.grounding.plot import TRAJECTORY
from gti_cli.grounding.rows import NewRows
from gti_cli.grounding.stopping import Evaluation, evaluation_steps, stopping, trajectory
from gti_cli.grounding.task import Task
from gti_cli.prompts.pairs import Pair
from gti_cli.training.batches.plan import BatchPlan, SharedPlan
from gti_cli.training.callbacks.best import BestState
from gti_cli.training.reach import natural_rate
from gti_cli.training.sharding import count_weights, load_sharded
from gti_cli.training.trainer import PlannedTrainer
from gti_cli.workspace import StageRun, processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

    from gti_cli.grounding.distil.batches import DistilCorpus
    from gti_cli.training.lora import Adapters


def train_and_save(job: Job, run: StageRun, folder: Path) -> None:
    """Train, write the checkpoint into ``folder`` and report counts and metrics to ``run``."""
    from transformers import AutoConfig

    from gti_cli.checkpoints.precision import describe, seed_everything

    run.device = describe(job.device)
    seed_everything(job.seed)
    path = job.checkpoint.path
    tokenizer = load_tokenizer(path)
    check_tokenizer(tokenizer, job.new_tokens)
    train, held = ([], []) if job.options.objective == DISTIL else _pairs(job, run, tokenizer)
    model = _load(job, run)
    rows = NewRows(model, torch.tensor(job.new_tokens.ids))
    job = _with_rate(job, run, model, known_height(tokenizer))
    before = matrices(rows)
    with rows.attached(), checkpointed(model) if job.options.gradient_checkpointing else nullcontext():
        adapters = _adapters(job, model)
        if job.options.objective == DISTIL:
            task = distil_task(job, run, model, rows, tokenizer)
        else:
            task = _pairs_task(job, run, model, rows, adapters, tokenizer, train, held)
        curve = _train(job, run, task)
        further = task.tables
    run.metrics.update(_moved(before, matrices(rows)))
    saved = AutoConfig.from_pretrained(path).dtype or torch.float32
    if job.options.unfreeze_steps:
        final = _with(job, rows, adapters, job.device, torch.float32)
        del model, rows, adapters, task  # they hold the frozen model
        curve = _second_phase(job, run, final, tokenizer, train, held, curve)
        cast("Any", final).to(saved)
    elif processes.rank() == 0:
        final = _with(job, rows, adapters, torch.device("cpu"), saved)
    run.details["saved_dtype"] = str(saved).removeprefix("torch.")
    if processes.rank():
        return  # the first process writes for all
    save_checkpoint(folder, final, tokenizer, job.new_tokens)
    for name, columns in {TRAJECTORY: curve, **further}.items():
        tables.write(folder / name, columns)


def _load(job: Job, run: StageRun) -> PreTrainedModel:
    """The frozen model, of which this process may hold a part; how much goes to ``run``."""
    if job.sharding is None:
        return load_model(job.checkpoint.path, job.device, job.dtype)
    model = load_sharded(job.checkpoint.path, job.device, job.dtype, job.sharding)
    run.measured["weights"], run.measured["weights_held"] = count_weights(model)
    run.measured["sharding"] = job.sharding.name
    console.note(f"{job.sharding.name}: each process holds {run.measured['weights_held']:,} of the frozen weights")
    return model


def _with_rate(job: Job, run: StageRun, model: PreTrainedModel, height: int) -> Job:
    """The job with a learning rate: as given, or what fits the embedding matrix, which goes to ``run``.

    ``height``: rows of the matrix that have a token.
    """
    if job.options.learning_rate is not None:
        return job
    embedding: Any = model.get_input_embeddings()
    rate = natural_rate(embedding.weight, job.new_tokens.ids, height, "--learning-rate")
    run.metrics["learning_rate"] = rate
    return replace(job, options=replace(job.options, learning_rate=rate))


def _rate(job: Job) -> float:
    return cast("float", job.options.learning_rate)  # `_with_rate` has set it


def _pairs(job: Job, run: StageRun, tokenizer: PreTrainedTokenizerBase) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and pairs that are held out; counts go to ``run``."""
    assert isinstance(job.texts, Texts)
    pairs, counts = make_pairs(job.texts, tokenizer, job.options.max_text_tokens)
    train, held = hold_out(pairs, job.options.held_out, job.seed)
    run.counts.update(counts, train_pairs=len(train), held_out_pairs=len(held))
    if job.options.patience is not None and not held:
        raise InputError("--patience needs held-out pairs, and there are too few pairs to hold any out")
    return train, held


def _pairs_task(
    job: Job,
    run: StageRun,
    model: PreTrainedModel,
    rows: NewRows,
    adapters: Adapters | None,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Pair],
    held: Sequence[Pair],
) -> Task:
    """The paper's objective over pairs."""
    corpus = corpus_of(job, model, rows if adapters is None else None, tokenizer, train)
    if adapters is None and not any(corpus.firsts):
        console.note(
            f"{type(model).__name__} does not take a kept prefix: examples are computed whole, which takes longer"
        )
    return Task(
        GroundingModel(model, rows, corpus.heads, adapters),
        Collator(corpus, int(tokenizer.pad_token_id), in_step=job.sharding is not None),
        measures_of(job, run, model, rows, tokenizer, held, adapters),
        constant=frozenset({"retrieval_chance@1", "retrieval_chance@10"}),
    )


def _train(job: Job, run: StageRun, task: Task) -> dict[str, list[Any]]:
    """Train and measure; returns the curve."""
    from gti_cli.training.arguments import last_checkpoint, train_or_resume
    from gti_cli.training.callbacks.divergence import end_if_diverged
    from gti_cli.training.callbacks.progress import show_progress
    from gti_cli.training.callbacks.tracking import logs_in
    from gti_cli.training.optimizer import adamw

    options, trained, measures = job.options, task.trained, task.measures
    corpus = task.collator.corpus
    lengths = corpus.text_lengths()
    plan = BatchPlan(
        lengths,
        [1] * len(lengths),
        size=options.batch_size,
        epochs=options.epochs,
        max_steps=options.max_steps,
        seed=job.seed,
    )
    arguments = _arguments(job, run, len(plan))
    before = measures.point()
    first = {**before, **measures.search()}
    run.metrics.update({f"{name}_before": value for name, value in first.items() if name not in task.constant})
    rate = options.lora_learning_rate if options.lora else _rate(job)
    optimizer = adamw(trained, rate, rows=list(trained.rows.parameters()), rows_rate=_rate(job))
    with logs_in(job.logs):
        shared = SharedPlan(plan, arguments.world_size, arguments.process_index)
        trainer = PlannedTrainer(trained, arguments, task.collator, shared, len(lengths), optimizer)
    show_progress(trainer, "Grounding")
    times = evaluation_steps(len(plan), options.eval_every, measures.examples, options.batch_size)
    end_if_diverged(trainer, "--learning-rate" + (" or --lora-learning-rate" if options.lora else ""), times)
    best = BestState(trained, run.scratch) if options.patience is not None else None
    trainer.add_callback(Evaluation(measures.point, times, best, options.patience))
    done = last_checkpoint(run.scratch) if run.resuming else None
    train_or_resume(
        trainer, done, lambda log: options.patience is not None and stopping(log, options.patience)["stopped"]
    )
    if best is not None and options.patience is not None:
        best.restore()
        run.metrics["stopping"] = stopping(trainer.state.log_history, options.patience)
    _report(run, trainer, plan, corpus, int(done.rpartition("-")[2]) if done else 0)
    run.metrics.update({**measures.point(), **measures.search()})
    return trajectory(trainer.state.log_history, before)


def _arguments(job: Job, run: StageRun, steps: int) -> TrainingArguments:
    from gti_cli.training.arguments import training_arguments

    logging = 1 if steps < 200 else 10
    return training_arguments(
        run.scratch,
        epochs=1,
        max_steps=steps,
        batch_size=job.options.batch_size,
        learning_rate=_rate(job),
        seed=job.seed,
        # Saving in step with logging makes the logged losses of a resumed run those of an unbroken one.
        save_steps=max(steps // 10 // logging, 1) * logging,
        logging_steps=logging,
        device=job.device,
        max_grad_norm=0.0,  # Algorithm 1 does not clip
        report_to=job.report_to,
        run_name=job.name,
    )


def _report(
    run: StageRun, trainer: PlannedTrainer, plan: BatchPlan, corpus: Corpus | DistilCorpus, first_step: int
) -> None:
    """Losses and counts of the whole run; rates of what was run now, from ``first_step`` on."""
    history = trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    last = losses[-max(len(losses) // 10, 1) :]
    run.metrics["train_loss"] = sum(last) / len(last)
    steps = trainer.state.global_step  # fewer than planned after an early stop
    seen = sum(len(batch) for batch in plan.steps[:steps])
    run.metrics["epochs"] = seen / len(corpus.examples)
    run.counts.update(steps=steps, steps_planned=len(plan), examples_seen=seen)
    seconds = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), 0.0)
    mine = [n for batch in plan.steps[first_step:steps] for n in batch.tolist()]
    if seconds and mine:
        run.measured["train_seconds"] = seconds
        run.measured["examples_per_second"] = len(mine) / seconds
        run.measured["tokens_per_second"] = sum(len(corpus.examples[n]) for n in mine) / seconds


def _moved(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """How far a coordinate of each matrix went (root mean square)."""
    import numpy as np

    return {f"{name}rows_moved": float(np.sqrt(np.mean((rows - before[name]) ** 2))) for name, rows in after.items()}


def _adapters(job: Job, model: PreTrainedModel) -> Adapters | None:
    """LoRA inside ``model``, if asked for. After `NewRows`, which freezes all that it finds."""
    from gti_cli.training.lora import Adapters

    options = job.options
    if not options.lora:
        return None
    found = Adapters(model, rank=options.lora_r, alpha=options.lora_alpha, dropout=options.lora_dropout)
    count = sum(parameter.numel() for parameter in found.parameters())
    console.note(f"adapters with {count:,} weights train beside the new rows; merged at the end, old rows as they were")
    return found


def _with(
    job: Job, rows: NewRows, adapters: Adapters | None, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """The model as its checkpoint has it, with new rows in their places and adapters merged: no other bit differs."""
    model = load_model(job.checkpoint.path, device, dtype)
    rows.write_into(model)
    if adapters is not None:
        adapters.merge_into(model)
    return model


def _second_phase(
    job: Job,
    run: StageRun,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Pair],
    held: Sequence[Pair],
    curve: dict[str, list[Any]],
) -> dict[str, list[Any]]:
    """Train all weights and measure; the first phase's figures are kept as ``…_frozen``. Returns the curve of both."""
    from gti_cli.grounding.unfreeze import train_everything

    corpus = corpus_of(job, model, None, tokenizer, train)
    log = train_everything(job, run, model, corpus, int(tokenizer.pad_token_id))
    rows = NewRows(model, torch.tensor(job.new_tokens.ids))
    with rows.attached():
        measures = measures_of(job, run, model, rows, tokenizer, held)
        point = measures.point()
        found = {**point, **measures.search()}
    run.metrics.update({f"{name}_frozen": run.metrics[name] for name in found if "chance" not in name})
    run.metrics.update(found)
    first = curve["step"][-1]
    second = trajectory([*log, {"step": job.options.unfreeze_steps, **point}], dict.fromkeys(point))
    second["step"] = [first + step for step in second["step"]]
    return {name: [*values, *second[name][1:]] for name, values in curve.items()}
