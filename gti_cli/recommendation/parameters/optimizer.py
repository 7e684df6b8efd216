"""What trains in fine-tuning, and at which learning rates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch

from gti_cli import console
from gti_cli.checkpoints.limits import count_used_rows
from gti_cli.recommendation.job import FinetuneJob
from gti_cli.workspace import StageRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def row_matrices(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The matrices with a row for each token: the input embedding, and the output head's where it is another."""
    modules: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[no-untyped-call]
    return list({id(module.weight): module.weight for module in modules}.values())


def with_rows_rate(job: FinetuneJob, model: PreTrainedModel) -> FinetuneJob:
    """The job with a learning rate for the new rows: as given, or one that fits the scale of the embedding matrix.

    Args:
        job: The run.
        model: The model, before training.
    """
    from gti_cli.training.rows_learning_rate import default_rows_rate
    from gti_cli.training.sharding import requested_sharding

    rate = job.options.rows_learning_rate
    if rate is None and requested_sharding() is not None:
        rate = job.options.learning_rate
        console.note(f"new rows train at the learning rate of all else, {rate:g}: a sharded optimizer has only one")
    elif rate is None:
        height = count_used_rows(job.tokenizer)
        rate = default_rows_rate(row_matrices(model)[0], job.new_tokens.ids, height, "--rows-learning-rate")
        rate = max(rate, job.options.learning_rate)
    return replace(job, options=replace(job.options, rows_learning_rate=rate))


def make_optimizer(job: FinetuneJob, model: PreTrainedModel) -> tuple[Any, torch.optim.Optimizer]:
    """Choose what trains, and make its optimizer with a learning rate for the new rows.

    Args:
        job: The run, with a learning rate for the new rows (`with_rows_rate`).
        model: The model. With ``--lora`` it is frozen and gets adapters.

    Returns:
        The module that trains (the model itself, or the model with adapters and new rows around it), and its
        optimizer.
    """
    from gti_cli.recommendation.parameters.adapters import add_lora
    from gti_cli.training.adamw import adamw, scale_row_steps

    options, rows_rate = job.options, _rows_rate(job)
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
        # The new rows are part of a matrix that trains as a whole, so their steps are scaled within it.
        new_ids = torch.tensor(job.new_tokens.ids, device=job.device)
        for weight in row_matrices(model):
            scale_row_steps(optimizer, weight, new_ids, rows_rate / options.learning_rate)
    return model, optimizer


def record_reach(job: FinetuneJob, model: PreTrainedModel, steps: int, warmup: int, run: StageRun) -> None:
    """Print and record how far the new rows can travel in the run.

    Args:
        job: The run, with a learning rate for the new rows.
        model: The model, before training.
        steps: Number of steps.
        warmup: Number of warm-up steps.
        run: Gets the figures in ``metrics``.
    """
    from gti_cli.training.adamw import sum_of_rates
    from gti_cli.training.rows_learning_rate import measure_reach

    weight = row_matrices(model)[0].detach().cpu().numpy()
    travel = sum_of_rates(_rows_rate(job), steps, warmup)
    reach = measure_reach(weight, job.new_tokens.ids, travel, count_used_rows(job.tokenizer))
    reach.print_summary(steps)
    run.metrics.update(reach.metrics())


def _rows_rate(job: FinetuneJob) -> float:
    return cast("float", job.options.rows_learning_rate)  # `with_rows_rate` has set it
