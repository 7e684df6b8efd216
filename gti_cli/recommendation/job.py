"""A fine-tuning run, checked and ready to start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.checkpoints.new_tokens import check_tokenizer
from gti_cli.errors import InputError
from gti_cli.recommendation.task_data import NEXT_ITEM
from gti_cli.recommendation.tasks import make_tasks

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from gti_cli.checkpoints.finding import Checkpoint
    from gti_cli.checkpoints.new_tokens import NewTokens
    from gti_cli.options import RunOptions
    from gti_cli.recommendation.options import FinetuneOptions
    from gti_cli.recommendation.task_data import TaskData
    from gti_cli.recommendation.tasks import Task


@dataclass(frozen=True)
class FinetuneJob:
    """Everything that a fine-tuning run needs.

    Attributes:
        checkpoint: Checkpoint to start from.
        tokenizer: The checkpoint's tokenizer.
        new_tokens: The checkpoint's semantic-ID tokens.
        data: Tables from which the tasks were made.
        tasks: What to train on, the main task first.
        options: Options of the stage.
        seed: Seed of everything random.
        sizes: Number of codes of each level.
        device: Device to compute on.
        autocast: Whether to compute in bfloat16.
        dtype_reason: Why this number format was chosen, for the manifest.
        name: Name of the output.
        report_to: Experiment trackers.
        logs: Folder for trackers that write files.
        baselines: Folder in which `gti evaluate` and the behaviour priors keep trained networks.
        embeddings: The embeddings of the items that `gti build-ids` has written.
    """

    checkpoint: Checkpoint
    tokenizer: PreTrainedTokenizerBase
    new_tokens: NewTokens
    data: TaskData
    tasks: list[Task]
    options: FinetuneOptions
    seed: int
    sizes: list[int]
    device: torch.device
    autocast: bool
    dtype_reason: str
    name: str
    report_to: Sequence[str]
    logs: Path
    baselines: Path
    embeddings: Path


def prepare_job(
    checkpoint: Checkpoint,
    data: TaskData,
    sizes: list[int],
    options: FinetuneOptions,
    run_options: RunOptions,
    *,
    name: str,
    report_to: Sequence[str],
    logs: Path,
    baselines: Path,
    embeddings: Path,
) -> FinetuneJob:
    """Make the tasks, and check everything that can be checked before the model is loaded.

    Args:
        checkpoint: Checkpoint to start from.
        data: Tables for the tasks.
        sizes: Number of codes of each level.
        options: Options of the stage.
        run_options: Options that all stages share.
        name: Name of the output.
        report_to: Experiment trackers.
        logs: Folder for trackers that write files.
        baselines: Folder in which trained networks of baselines are kept.
        embeddings: The embeddings of the items that `gti build-ids` has written.

    Raises:
        InputError: When the options do not fit the launcher, the machine, the checkpoint or the tables.
    """
    from gti_cli.checkpoints.devices import choose_device, choose_training_dtype

    device = choose_device(run_options.device)
    _check_sharding(device, options)
    if options.prior != "none" and NEXT_ITEM not in data.tasks:
        raise InputError(
            f"--prior {options.prior} is about histories, and this run trains on none",
            remedy="give --interactions and the task next-item, or drop --prior",
        )
    dtype, dtype_reason = choose_training_dtype(run_options.dtype, device)
    tokenizer, new_tokens = checkpoint.load_tokenizer(), checkpoint.item_tokens()
    check_tokenizer(tokenizer, new_tokens)
    tasks = make_tasks(data, tokenizer, options, run_options.seed)
    if options.validations and not any(task.target_rows for task in tasks):
        raise InputError(
            "--validations has no validation example to rank", remedy="mark some rows valid, or drop --validations"
        )
    return FinetuneJob(
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        new_tokens=new_tokens,
        data=data,
        tasks=tasks,
        options=options,
        seed=run_options.seed,
        sizes=sizes,
        device=device,
        autocast=str(dtype) == "torch.bfloat16",
        dtype_reason=dtype_reason,
        name=name,
        report_to=report_to,
        logs=logs,
        baselines=baselines,
        embeddings=embeddings,
    )


def _check_sharding(device: torch.device, options: FinetuneOptions) -> None:
    """Refuse options that do not work under the launcher's configuration."""
    from gti_cli.training.sharding import check_training

    # A sharded optimizer has one learning rate; the other options need the whole model on each process,
    # and as many passes of it on each.
    check_training(
        device,
        {
            "--prior": options.prior != "none",
            "--lora": options.lora,
            "--rows-learning-rate": options.rows_learning_rate not in (None, options.learning_rate),
            "--validations": bool(options.validations),
            "--compile": options.compile,
            "--micro-batch": options.micro_batch is not None,
        },
    )
