"""The training of ``finetune``: model, optimizer, Trainer, and what is measured before and after."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.recommendation.job import Job
from gti_cli.training.checkpoints import load_model, load_tokenizer, save_checkpoint
from gti_cli.training.packing import separate
from gti_cli.vocabulary.tokens import check_tokenizer
from gti_cli.workspace import StageRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gti_cli.training.answers import AnswerTrainer
    from gti_cli.training.packing import BatchPlan, Layout, Window
    from gti_cli.training.reach import Reach
    from gti_cli.training.validation import Validation

RANKED_USERS = 500  # validation users whose next item is searched for; enough to tell better from worse, and quick


def train_and_save(job: Job, run: StageRun, folder: Path) -> None:
    """Train, write the checkpoint into ``folder`` and report counts and metrics to ``run``."""
    from transformers import AutoConfig

    from gti_cli.training.answers import mean_loss
    from gti_cli.training.precision import describe, seed_everything

    run.device = describe(job.device)
    run.measured["dtype"] = f"{'bfloat16' if job.autocast else 'float32'}, {job.why}"
    console.note(f"computing in {run.measured['dtype']}; the weights that train are float32")
    seed_everything(job.seed)
    path = job.checkpoint.path
    tokenizer = load_tokenizer(path)
    check_tokenizer(tokenizer, job.new_tokens)
    layout = _layout(job, tokenizer)
    config = AutoConfig.from_pretrained(path)
    _check_length(config, layout, job)
    saved = config.dtype or torch.float32
    model = load_model(path, job.device, torch.float32)

    def valid_loss() -> float:
        return mean_loss(model, layout, job.task.valid, 64, job.device, job.autocast)

    if job.task.valid:
        run.metrics["valid_loss_before"] = valid_loss()
    new = torch.tensor(job.new_tokens.ids, device=job.device)
    rows_before = _matrices(model)[0].detach()[new].clone()
    model = _train(job, model, layout, run)
    # What is measured is what is written: the number format of the checkpoint, not that of the training. Weights only:
    # a model's constants (the angles of its positions) are made anew on loading, in full precision.
    for weight in model.parameters():
        weight.data = weight.data.to(saved).float()
    cast("Any", model).eval()
    moved = _matrices(model)[0].detach()[new] - rows_before
    run.metrics["new_rows_moved"] = float(moved.square().mean().sqrt())
    if job.task.valid:
        run.metrics["valid_loss"] = valid_loss()
    run.details["saved_dtype"] = str(saved).removeprefix("torch.")
    save_checkpoint(folder, cast("Any", model).to(saved), tokenizer, job.new_tokens)


def _layout(job: Job, tokenizer: PreTrainedTokenizerBase) -> Layout:
    from gti_cli.prompts.chat import end_of_turn
    from gti_cli.prompts.next_item import encode_items, frame
    from gti_cli.training.packing import Layout

    items = encode_items(tokenizer, job.catalogue.tokens, job.new_tokens)
    around = frame(tokenizer, job.catalogue.tokens[0])
    return Layout(around, items, end_of_turn(tokenizer), int(tokenizer.pad_token_id))


def _check_length(config: Any, layout: Layout, job: Job) -> None:
    """Raise `InputError` where a prompt is longer than the model's positions reach."""
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(window.items) - 1 for window in (*job.task.train, *job.task.valid))
    tokens = len(layout.frame.before) + longest * layout.levels + layout.branch
    if most is not None and tokens > most:
        fits = (most - tokens) // layout.levels + longest
        raise InputError(
            f"a history of {longest} items makes {tokens:,} tokens, more than the {most:,} positions of the model",
            where=job.checkpoint.path,
            remedy=f"use --history {fits} or fewer" if fits > 0 else "use a model with more positions",
        )


def _train(job: Job, model: PreTrainedModel, layout: Layout, run: StageRun) -> PreTrainedModel:
    """Train, and give back the plain model with whatever was adapted merged into it."""
    from gti_cli.recommendation.adapters import add_lora, merge_lora
    from gti_cli.training.answers import AnswerTrainer
    from gti_cli.training.arguments import last_checkpoint
    from gti_cli.training.optimizer import adamw, scale_row_steps
    from gti_cli.training.packing import BatchPlan
    from gti_cli.training.progress import show_progress

    options = job.options
    windows = _windows(job, model, layout, run)
    plan = BatchPlan(
        [layout.tokens(window) for window in windows],
        [window.targets for window in windows],
        size=options.share,
        epochs=options.epochs,
        max_steps=options.max_steps,
        seed=job.seed,
        world=int(os.environ.get("WORLD_SIZE", "1")),
        rank=int(os.environ.get("RANK", "0")),
    )
    arguments = _arguments(job, run, len(plan))
    rows_rate = options.rows_learning_rate or options.learning_rate
    _reach(job, model, rows_rate, len(plan), arguments.get_warmup_steps(len(plan)), run)
    trained: Any = model
    if options.lora:
        trained, rows = add_lora(
            model,
            job.new_tokens.ids,
            rank=options.lora_r,
            alpha=options.lora_alpha,
            dropout=options.lora_dropout,
        )
        optimizer = adamw(trained, options.learning_rate, rows=rows, rows_rate=rows_rate)
    else:
        optimizer = adamw(model, options.learning_rate)
        if rows_rate != options.learning_rate:
            new = torch.tensor(job.new_tokens.ids, device=job.device)
            for weight in _matrices(model):
                scale_row_steps(optimizer, weight, new, rows_rate / options.learning_rate)
    trainer = AnswerTrainer(trained, arguments, layout, windows, plan, optimizer)
    show_progress(trainer, "Fine-tuning")
    validation = _validation(job, model, trained, layout, run, len(plan))
    if validation:
        trainer.add_callback(validation)
    done = last_checkpoint(run.scratch) if run.resuming else None
    trainer.train(resume_from_checkpoint=done)
    _report(trainer, plan, run, int(done.rpartition("-")[2]) if done else 0)
    if validation:
        validation.restore_best()
    return merge_lora(trained) if options.lora else model


def _windows(job: Job, model: PreTrainedModel, layout: Layout, run: StageRun) -> list[Window]:
    """History trees where the model's attention takes their mask, else one example for each target."""
    from gti_cli.training.answers import takes_trees

    if job.options.targets == "last" or takes_trees(model, layout, job.task.train, job.device):
        run.details["packing"] = "separate examples" if job.options.targets == "last" else "history trees"
        return job.task.train
    run.details["packing"] = "separate examples"
    if any(window.targets > 1 for window in job.task.train):
        console.note(
            f"{type(model).__name__}'s attention does not take the mask of history trees (all prefixes of a history in "
            "one sequence): training on one example for each target, which gives the same result several times slower"
        )
    return [single for window in job.task.train for single in separate(window)]


def _validation(
    job: Job, model: PreTrainedModel, trained: Any, layout: Layout, run: StageRun, steps: int
) -> Validation | None:
    """The callback that validates, if asked for. ``model`` computes what is trained, adapters and all."""
    from gti_cli.training.validation import Ranker, Validation, validation_steps
    from gti_cli.vocabulary.tokens import code_ids

    if not job.options.validations:
        return None
    users = job.task.valid[:: -(-len(job.task.valid) // RANKED_USERS)]
    run.counts["valid_users_ranked"] = len(users)
    ids = code_ids(job.new_tokens, job.sizes)
    ranker = Ranker(layout, job.catalogue.codes, ids, users, job.device, job.autocast)
    times = validation_steps(steps, job.options.validations)
    return Validation(lambda: ranker(model), trained, run.scratch, times, job.options.patience)


def _matrices(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The embedding matrix, and the head's where it is another."""
    found: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[no-untyped-call]
    return list({id(module.weight): module.weight for module in found}.values())


def _arguments(job: Job, run: StageRun, steps: int) -> Any:
    from gti_cli.training.arguments import training_arguments

    logging = 1 if steps < 200 else 10
    # Saving in step with logging makes the logged losses of a resumed run those of an unbroken one.
    saving = max(steps // 10 // logging, 1) * logging
    return training_arguments(
        run.scratch,
        epochs=1,
        max_steps=steps,
        batch_size=job.options.share,
        learning_rate=job.options.learning_rate,
        seed=job.seed,
        save_steps=saving,
        logging_steps=logging,
        use_cpu=job.device.type == "cpu",
        bf16=job.autocast,
        gradient_checkpointing=job.options.gradient_checkpointing,
    )


def _reach(job: Job, model: PreTrainedModel, rate: float, steps: int, warmup: int, run: StageRun) -> Reach:
    from gti_cli.training.optimizer import sum_of_rates
    from gti_cli.training.reach import reach

    weight = _matrices(model)[0].detach().cpu().numpy()
    found = reach(weight, job.new_tokens.ids, sum_of_rates(rate, steps, warmup))
    found.say(steps)
    run.metrics.update(found.metrics())
    return found


def _report(trainer: AnswerTrainer, plan: BatchPlan, run: StageRun, first_step: int) -> None:
    """Losses and counts of the whole run; rates of what was run now, from ``first_step`` on."""
    from gti_cli.training.validation import history

    log = trainer.state.log_history
    losses = [entry["loss"] for entry in log if "loss" in entry]
    last = losses[-max(len(losses) // 10, 1) :]
    run.metrics["train_loss"] = sum(last) / len(last)
    steps = trainer.state.global_step  # fewer than planned after an early stop
    run.counts.update(
        {
            "steps": steps,
            "steps_planned": len(plan),
            "targets_seen": sum(plan.targets[:steps]),
            "tokens_seen": sum(plan.tokens[:steps]),
        }
    )
    run.metrics["epochs"] = plan.epochs * run.counts["targets_seen"] / sum(plan.targets)
    if found := history(trainer.state):
        best_step, best = max(found, key=lambda entry: entry[1])
        run.metrics["valid_ndcg@10"] = best
        run.counts.update({"best_step": best_step, "validations": len(found)})
    seconds = next((entry["train_runtime"] for entry in reversed(log) if "train_runtime" in entry), 0.0)
    if seconds and first_step < steps:
        run.measured["train_seconds"] = seconds
        run.measured["tokens_per_second"] = sum(plan.tokens[first_step:steps]) / seconds
        run.measured["targets_per_second"] = sum(plan.targets[first_step:steps]) / seconds
