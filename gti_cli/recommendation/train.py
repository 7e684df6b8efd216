"""The training of ``finetune``: model, optimizer, Trainer, and what is measured before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from gti_cli import console
from gti_cli.checkpoints.limits import count_used_rows
from gti_cli.checkpoints.loading import load_model
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.recommendation.job import Job
from gti_cli.recommendation.report import report
from gti_cli.recommendation.units import Units, encode_tasks, rankable
from gti_cli.recommendation.validation_schedule import with_validations
from gti_cli.training.batches.packing import even_length, separate
from gti_cli.workspace import StageRun, processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gti_cli.training.batches.mixture import MixedPlan
    from gti_cli.training.callbacks.validation import Validation
    from gti_cli.training.reach import Reach


def train_and_save(job: Job, run: StageRun, folder: Path) -> None:
    """Train, write the checkpoint into ``folder`` and report counts and metrics to ``run``."""
    from transformers import AutoConfig

    from gti_cli.checkpoints.devices import describe, seed_everything

    run.device = describe(job.device)
    run.measured["dtype"] = f"{'bfloat16' if job.autocast else 'float32'}, {job.why}"
    console.note(f"computing in {run.measured['dtype']}; the weights that train are float32")
    seed_everything(job.seed)
    path = job.checkpoint.path
    config = AutoConfig.from_pretrained(path)
    units = encode_tasks(job, config)
    saved = config.dtype or torch.float32
    model = load_model(path, job.device, torch.float32)
    job = _with_rows_rate(job, model)
    run.metrics["rows_learning_rate"] = job.options.rows_learning_rate
    _pack(job, model, units, run)
    before = _valid_losses(job, model, units)
    new = torch.tensor(job.new_tokens.ids, device=job.device)
    rows_before = _matrices(model)[0].detach()[new].clone()
    model = _train(job, model, units, run)
    # What is measured is what is written: the number format of the checkpoint, not that of the training. Weights only:
    # a model's constants (the angles of its positions) are made anew on loading, in full precision.
    for weight in model.parameters():
        weight.data = weight.data.to(saved).float()
    cast("Any", model).eval()
    moved = _matrices(model)[0].detach()[new] - rows_before
    run.metrics["new_rows_moved"] = float(moved.square().mean().sqrt())
    after = _valid_losses(job, model, units)
    for name, loss in after.items():
        run.metrics["tasks"][name].update(
            valid_targets=len(units.valid[name]), valid_loss_before=before[name], valid_loss=loss
        )
    if (main := job.tasks[0].name) in after:
        run.metrics.update(valid_loss_before=before[main], valid_loss=after[main])
    run.details["saved_dtype"] = str(saved).removeprefix("torch.")
    save_checkpoint(folder, cast("Any", model).to(saved), job.tokenizer, job.new_tokens)


def _with_rows_rate(job: Job, model: PreTrainedModel) -> Job:
    """The job with a rate for the new rows: as given, or what fits the matrix (a divided optimizer knows one rate)."""
    from gti_cli.training.reach import natural_rate
    from gti_cli.training.sharding import asked_for

    rate = job.options.rows_learning_rate
    if rate is None and asked_for() is not None:
        rate = job.options.learning_rate
        console.note(f"new rows train at the rate of everything else, {rate:g}: a divided optimizer knows one")
    elif rate is None:
        height = count_used_rows(job.tokenizer)
        rate = natural_rate(_matrices(model)[0], job.new_tokens.ids, height, "--rows-learning-rate")
        rate = max(rate, job.options.learning_rate)
    return replace(job, options=replace(job.options, rows_learning_rate=rate))


def _rows_rate(job: Job) -> float:
    return cast("float", job.options.rows_learning_rate)  # `_with_rows_rate` has set it


def _valid_losses(job: Job, model: PreTrainedModel, units: Units) -> dict[str, float]:
    """Loss of each task that has something to validate with."""
    from gti_cli.training.answer_loss import mean_loss

    return {
        name: mean_loss(model, units.mixture, found, 64, job.device, job.autocast)
        for name, found in units.valid.items()
        if found
    }


def _train(job: Job, model: PreTrainedModel, units: Units, run: StageRun) -> PreTrainedModel:
    """Train, and give back the plain model with whatever was adapted merged into it."""
    from gti_cli.recommendation.adapters import merge_lora
    from gti_cli.training.answer_loss import answer_loss
    from gti_cli.training.arguments import go_on, last_checkpoint
    from gti_cli.training.callbacks.divergence import end_if_diverged
    from gti_cli.training.callbacks.progress import show_progress
    from gti_cli.training.callbacks.tracking import logs_in
    from gti_cli.training.callbacks.validation import validation_steps
    from gti_cli.training.compiled import uncompile
    from gti_cli.training.sharding import gathered
    from gti_cli.training.trainer import PlannedTrainer

    options = job.options
    plan = units.plan(
        job.material.weights,
        size=options.share,
        epochs=options.epochs,
        max_steps=options.max_steps,
        seed=job.seed,
        world=processes.world(),
        rank=processes.rank(),
    )
    job = with_validations(job, plan)
    options = job.options
    arguments = _arguments(job, run, len(plan))
    _reach(job, model, len(plan), arguments.get_warmup_steps(len(plan)), run)
    trained, optimizer = _optimizer(job, model)
    if options.compile:
        run.details["compiled"] = _compile(job, trained, units, plan)
    with logs_in(job.logs):
        every = units.all()

        def collate(numbers: Sequence[int]) -> dict[str, Any]:
            """The tensors of a batch."""
            return units.mixture.collate([every[number] for number in numbers])

        trainer = PlannedTrainer(trained, arguments, collate, plan, len(every), optimizer, answer_loss)
    show_progress(trainer, "Fine-tuning")
    times = validation_steps(len(plan), options.validations or 0)
    end_if_diverged(trainer, "--learning-rate or --rows-learning-rate", times)
    validation = _validation(job, model, trained, units, run, len(plan))
    if validation:
        trainer.add_callback(validation)
    done = last_checkpoint(run.scratch) if run.resuming else None
    go_on(trainer, done, validation.finished if validation else lambda _: False)
    uncompile(trained)
    report(trainer, plan, run, int(done.rpartition("-")[2]) if done else 0)
    if validation:
        validation.restore_best()
    return merge_lora(trained) if options.lora else gathered(model, job.checkpoint.path, job.device)


def _compile(job: Job, trained: Any, units: Units, plan: MixedPlan) -> str:
    """Compile what trains, and try it on the first batch; says what came of it."""
    from gti_cli.training.answer_loss import answer_loss, on_device
    from gti_cli.training.compiled import compile_forward

    every = units.all()
    batch = on_device(units.mixture.collate([every[place] for place in plan.steps[0].tolist()]), job.device)

    def loss() -> torch.Tensor:
        """Of that batch, as in training."""
        with torch.autocast(job.device.type, torch.bfloat16, enabled=job.autocast):
            return answer_loss(trained, batch)[0]

    trained.train()
    return compile_forward(trained, loss)


def _optimizer(job: Job, model: PreTrainedModel) -> tuple[Any, torch.optim.Optimizer]:
    """What trains (the model, or adapters and rows around it), and its optimizer with a rate for the new rows."""
    from gti_cli.recommendation.adapters import add_lora
    from gti_cli.training.optimizer import adamw, scale_row_steps

    options = job.options
    rows_rate = _rows_rate(job)
    if options.lora:
        trained, rows = add_lora(
            model,
            job.new_tokens.ids,
            rank=options.lora_r,
            alpha=options.lora_alpha,
            dropout=options.lora_dropout,
        )
        return trained, adamw(trained, options.learning_rate, rows=rows, rows_rate=rows_rate)
    optimizer = adamw(model, options.learning_rate)
    if rows_rate != options.learning_rate:
        new = torch.tensor(job.new_tokens.ids, device=job.device)
        for weight in _matrices(model):
            scale_row_steps(optimizer, weight, new, rows_rate / options.learning_rate)
    return model, optimizer


def _pack(job: Job, model: PreTrainedModel, units: Units, run: StageRun) -> None:
    """History trees, several in a row, where the model's attention takes their mask; else one target an example."""
    from gti_cli.training.answer_loss import takes_trees
    from gti_cli.training.batches.mixture import Mixture

    windows, own = units.windows, units.mixture.layout
    shared = replace(own, even=even_length(model.config.get_text_config().hidden_size))
    if job.options.targets == "last" or not windows:
        run.details["packing"] = "separate examples"
    elif takes_trees(model, shared, windows, job.device):
        run.details["packing"] = "history trees"
        units.mixture = Mixture(shared)
    elif takes_trees(model, own, windows, job.device):
        run.details["packing"] = "history trees, one in a row"
    else:
        run.details["packing"] = "separate examples"
        if any(window.targets > 1 for window in windows):
            console.note(
                f"{type(model).__name__}'s attention does not take the mask of history trees (all prefixes of a "
                "history in one sequence): training on one example for each target, which gives the same result "
                "several times slower"
            )
        units.windows = [single for window in windows for single in separate(window)]


def _validation(
    job: Job, model: PreTrainedModel, trained: Any, units: Units, run: StageRun, steps: int
) -> Validation | None:
    """The callback that validates, if asked for. ``model`` computes what is trained, adapters and all."""
    from gti_cli.checkpoints.new_tokens import code_ids
    from gti_cli.training.callbacks.validation import Ranker, Validation, validation_steps
    from gti_cli.training.compiled import as_written

    if not job.options.validations:
        return None
    task, prompts, wanted = rankable(job, units)
    run.counts["valid_users_ranked" if task == "next-item" else "valid_queries_ranked"] = len(prompts)
    ids = code_ids(job.new_tokens, job.sizes)
    pad = units.mixture.layout.pad
    ranker = Ranker(job.material.catalogue.codes, ids, prompts, wanted, pad, job.device, job.autocast)
    times = validation_steps(steps, job.options.validations)

    def measure() -> float:
        """NDCG@10 as things stand."""
        with as_written(trained):
            return ranker(model)

    return Validation(measure, trained, run.scratch, times, job.options.patience)


def _matrices(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The embedding matrix, and the head's where it is another."""
    found: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[no-untyped-call]
    return list({id(module.weight): module.weight for module in found}.values())


def _arguments(job: Job, run: StageRun, steps: int) -> Any:
    from gti_cli.training.arguments import planned_arguments

    return planned_arguments(
        run.scratch,
        steps,
        batch_size=job.options.share,
        learning_rate=job.options.learning_rate,
        seed=job.seed,
        device=job.device,
        bf16=job.autocast,
        gradient_checkpointing=job.options.gradient_checkpointing,
        report_to=job.report_to,
        run_name=job.name,
    )


def _reach(job: Job, model: PreTrainedModel, steps: int, warmup: int, run: StageRun) -> Reach:
    from gti_cli.training.optimizer import sum_of_rates
    from gti_cli.training.reach import reach

    weight = _matrices(model)[0].detach().cpu().numpy()
    travel = sum_of_rates(_rows_rate(job), steps, warmup)
    found = reach(weight, job.new_tokens.ids, travel, count_used_rows(job.tokenizer))
    found.say(steps)
    run.metrics.update(found.metrics())
    return found
