"""The training of ``finetune``, in order: model, rates, packing, Trainer, measurements before and after, checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from gti_cli import console, tables
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.prompts.prompt_file import write_prompt_file
from gti_cli.recommendation.examples import TaskExamples, encode_tasks, pack_histories
from gti_cli.recommendation.job import FinetuneJob
from gti_cli.recommendation.parameters.optimizer import make_optimizer, record_reach, row_matrices, with_rows_rate
from gti_cli.recommendation.parameters.passes import choose_passes
from gti_cli.recommendation.plot import TRAINING_LOG, log_columns
from gti_cli.recommendation.validation import make_validation, validation_losses, with_validations
from gti_cli.training.prior_weights import detach
from gti_cli.workspace import StageRun, processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gti_cli.recommendation.parameters.prior import JobPrior
    from gti_cli.training.batches.mixture import ExampleCollator, MixedPlan, TrainingExample
    from gti_cli.training.trainer import PlannedTrainer


def train_and_save(job: FinetuneJob, run: StageRun, folder: Path) -> None:
    """Train, write the checkpoint, and report counts and metrics.

    Args:
        job: The run.
        run: Gets counts, metrics and details for the manifest.
        folder: Folder of the checkpoint.
    """
    from gti_cli.checkpoints.devices import describe, seed_everything

    run.device = describe(job.device)
    run.measured["dtype"] = f"{'bfloat16' if job.autocast else 'float32'}, {job.dtype_reason}"
    console.note(f"computing in {run.measured['dtype']}; the weights that train are float32")
    seed_everything(job.seed)
    config = job.checkpoint.load_config()
    examples = encode_tasks(job, config, run.work)
    # From here on the encoded examples are read; whoever holds the job must not keep the others in memory.
    job.tasks[:] = [replace(task, train=()) for task in job.tasks]
    saved_dtype = config.dtype or torch.float32
    model = job.checkpoint.load_model(job.device, torch.float32)
    job = with_rows_rate(job, model)
    run.metrics["rows_learning_rate"] = job.options.rows_learning_rate
    pack_histories(job, model, examples, run)
    prior = _add_prior(job, model, examples, run)
    run.measured["examples_kept_in"] = examples.kept_in()

    losses_before = validation_losses(job, model, examples)
    rows_before = _new_rows(job, model)
    model, log = _train(job, model, examples, run, prior)
    # Measure the weights as they are saved: in the number format of the checkpoint, not in that of the training. Only
    # parameters are rounded: a model's constants (the angles of its positions) are computed anew on loading.
    for weight in model.parameters():
        weight.data = weight.data.to(saved_dtype).float()
    cast("Any", model).eval()
    run.metrics["new_rows_moved"] = float((_new_rows(job, model) - rows_before).square().mean().sqrt())
    _record_losses(job, examples, losses_before, validation_losses(job, model, examples), run)

    learned = detach(cast("Any", model)) if prior is not None else None
    run.details["saved_dtype"] = str(saved_dtype).removeprefix("torch.")
    save_checkpoint(folder, cast("Any", model).to(saved_dtype), job.tokenizer, job.new_tokens)
    tables.write(folder / TRAINING_LOG, log_columns(log))
    write_prompt_file(
        folder,
        job.tokenizer,
        [task.name for task in job.tasks],
        item_tokens=job.data.catalogue.tokens[0],
        levels=len(job.sizes),
        style=job.new_tokens.style,
        wordings=job.options.wordings,
        history=job.options.history,
        prior=prior.prior.name if prior is not None else None,
    )
    if prior is not None and learned is not None:
        prior.save(folder, learned, run)


def _add_prior(job: FinetuneJob, model: PreTrainedModel, examples: TaskExamples, run: StageRun) -> JobPrior | None:
    """The behaviour prior that ``--prior`` names."""
    if job.options.prior == "none":
        return None
    from gti_cli.recommendation.parameters.prior import add_prior

    return add_prior(job, model, examples, run)


def _new_rows(job: FinetuneJob, model: PreTrainedModel) -> torch.Tensor:
    """A copy of the new rows of the input embedding."""
    ids = torch.tensor(job.new_tokens.ids, device=job.device)
    return row_matrices(model)[0].detach()[ids].clone()


def _train(
    job: FinetuneJob, model: PreTrainedModel, examples: TaskExamples, run: StageRun, prior: JobPrior | None
) -> tuple[PreTrainedModel, list[dict[str, Any]]]:
    """Train.

    Returns:
        The plain model, with its adapters merged, or gathered where it was sharded; and the Trainer's log.
    """
    from gti_cli.training.arguments import import_trainer, last_checkpoint, train_or_resume

    import_trainer(adapters=job.options.lora)
    from gti_cli.training.batches.passes import collate_passes
    from gti_cli.training.callbacks.divergence import end_if_diverged
    from gti_cli.training.callbacks.progress import show_progress
    from gti_cli.training.callbacks.tracking import logs_in
    from gti_cli.training.callbacks.validation import validation_steps
    from gti_cli.training.compiled import remove_compiled
    from gti_cli.training.sharding import gathered
    from gti_cli.training.trainer import PlannedTrainer

    plan = _plan(job, examples)
    job = with_validations(job, plan)
    arguments = _arguments(job, run, len(plan))
    record_reach(job, model, len(plan), arguments.get_warmup_steps(len(plan)), run)
    trained, optimizer = make_optimizer(job, model)
    all_examples = examples.all_train()
    first = [all_examples[number] for number in plan.steps[0].tolist()]
    loss, limit = choose_passes(job, model, trained, examples.collator, first, run)
    if job.options.compile:
        run.details["compiled"] = _try_compiling(job, trained, examples.collator, first)

    def collate(numbers: Sequence[int]) -> dict[str, Any]:
        """The tensors of a batch."""
        return collate_passes(examples.collator, [all_examples[number] for number in numbers], limit)

    with logs_in(job.logs):
        trainer = PlannedTrainer(trained, arguments, collate, plan, len(all_examples), optimizer, loss)
    show_progress(trainer, "Fine-tuning")
    measured_steps = validation_steps(len(plan), job.options.validations or 0)
    end_if_diverged(trainer, "--learning-rate or --rows-learning-rate", measured_steps)
    validation = make_validation(job, model, trained, examples, run, len(plan), prior)
    if validation:
        trainer.add_callback(validation)

    checkpoint = last_checkpoint(run.scratch) if run.resuming else None
    train_or_resume(trainer, checkpoint, validation.finished if validation else lambda _: False)
    remove_compiled(trained)
    first_step = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    _record_training(trainer, plan, run, first_step)
    if validation:
        validation.restore_best()
    if job.options.lora:
        merged: PreTrainedModel = trained.merge_and_unload()  # adapters and new rows become plain weights
        return merged, trainer.state.log_history
    return gathered(model, job.checkpoint.load_model, job.device), trainer.state.log_history


def _plan(job: FinetuneJob, examples: TaskExamples) -> MixedPlan:
    """The batches of the whole run, for this process."""
    return examples.plan(
        job.data.weights,
        size=job.options.targets_per_process,
        epochs=job.options.epochs,
        max_steps=job.options.max_steps,
        seed=job.seed,
        world=processes.world(),
        rank=processes.rank(),
    )


def _arguments(job: FinetuneJob, run: StageRun, steps: int) -> Any:
    from gti_cli.training.arguments import planned_arguments

    return planned_arguments(
        run.scratch,
        steps,
        batch_size=job.options.targets_per_process,
        learning_rate=job.options.learning_rate,
        seed=job.seed,
        device=job.device,
        bf16=job.autocast,
        gradient_checkpointing=job.options.gradient_checkpointing,
        report_to=job.report_to,
        run_name=job.name,
    )


def _try_compiling(job: FinetuneJob, trained: Any, collator: ExampleCollator, first: Sequence[TrainingExample]) -> str:
    """Compile what trains and try it on the examples of the first step; returns the result for the manifest."""
    from accelerate.utils import send_to_device  # type: ignore[import-untyped]

    from gti_cli.training.answer_loss import answer_loss
    from gti_cli.training.compiled import compile_forward

    batch = send_to_device(collator.collate(first), job.device)

    def loss() -> torch.Tensor:
        """The loss of that batch, as in training."""
        with torch.autocast(job.device.type, torch.bfloat16, enabled=job.autocast):
            return answer_loss(trained, batch)[0]

    trained.train()
    return compile_forward(trained, loss)


def _record_training(trainer: PlannedTrainer, plan: MixedPlan, run: StageRun, first_step: int) -> None:
    """Record losses and counts of the whole run, and rates of the part that was run now.

    Args:
        trainer: The Trainer, after training.
        plan: The batches of the run.
        run: Gets counts, metrics and rates.
        first_step: Steps that were done before the run was resumed.
    """
    from gti_cli.training.callbacks.validation import validation_history
    from gti_cli.training.trainer import last_tenth_loss

    log = trainer.state.log_history
    run.metrics["train_loss"] = last_tenth_loss(log)
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
    passes = plan.passes(steps)
    run.metrics["tasks"] = {
        name: {"targets": size, "targets_seen": sum(plan.by_task[name][:steps]), "passes": passes[name]}
        for name, size in plan.sizes.items()
    }
    if validations := validation_history(trainer.state):
        best_step, best = max(validations, key=lambda entry: entry[1])
        run.metrics["valid_ndcg@10"] = best
        run.metrics["valid_ndcg@10_by_step"] = [[step, value] for step, value in validations]
        run.counts.update({"best_step": best_step, "validations": len(validations)})
    seconds = next((entry["train_runtime"] for entry in reversed(log) if "train_runtime" in entry), 0.0)
    if seconds and first_step < steps:
        run.measured["passes_per_step"] = trainer.passes / (steps - first_step)
        run.measured["train_seconds"] = seconds
        run.measured["tokens_per_second"] = sum(plan.tokens[first_step:steps]) / seconds
        run.measured["targets_per_second"] = sum(plan.targets[first_step:steps]) / seconds


def _record_losses(
    job: FinetuneJob, examples: TaskExamples, before: dict[str, float], after: dict[str, float], run: StageRun
) -> None:
    """Record the validation loss of each task before and after training, and that of the main task on its own."""
    for name, loss in after.items():
        run.metrics["tasks"][name].update(
            valid_targets=len(examples.valid[name]), valid_loss_before=before[name], valid_loss=loss
        )
    if (main := job.tasks[0].name) in after:
        run.metrics.update(valid_loss_before=before[main], valid_loss=after[main])
