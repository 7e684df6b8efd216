"""The `transformers.TrainingArguments` that all training stages share, and how an interrupted one goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import TrainingArguments


def training_arguments(
    scratch: Path,
    *,
    epochs: float,
    max_steps: int | None,
    batch_size: int,
    learning_rate: float,
    seed: int,
    warmup_ratio: float = 0.03,
    weight_decay: float = 0.0,
    save_steps: int | None = None,
    gradient_checkpointing: bool = False,
    use_cpu: bool = False,
    **more: Any,
) -> TrainingArguments:
    """Build the arguments: saves into ``scratch`` for resuming, logs for our progress bar, reports to nobody.

    Args:
        scratch: `StageRun.scratch`. epochs: passes over the data; ``max_steps`` overrides it (None: by epochs).
        batch_size: examples a step on each process. learning_rate: peak, after a linear warm-up, with linear decay.
        seed: of order and dropout. save_steps: how often progress is kept (None: about ten times a run).
        gradient_checkpointing: keep few activations and compute the others twice.
        more: any further `TrainingArguments` field.
    """
    from transformers import TrainingArguments

    saving = {"save_strategy": "steps", "save_steps": save_steps if save_steps is not None else 0.1}
    if gradient_checkpointing:
        # transformers 5.2x renamed the field and warns at the old name.
        known = TrainingArguments.__dataclass_fields__
        name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
        more = {name: True, f"{name}_kwargs": {"use_reentrant": False}, **more}
    fields: dict[str, Any] = {
        "output_dir": str(scratch),
        "num_train_epochs": epochs,
        "max_steps": max_steps or -1,
        "per_device_train_batch_size": batch_size,
        "learning_rate": learning_rate,
        "warmup_steps": warmup_ratio,
        "weight_decay": weight_decay,
        "lr_scheduler_type": "linear",
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 10,
        "report_to": [],
        "disable_tqdm": True,
        "save_total_limit": 1,
        "remove_unused_columns": False,
        "dataloader_drop_last": False,
        "ddp_find_unused_parameters": False,  # every trained parameter takes part in every step
        "use_cpu": use_cpu,
        **saving,
        **more,
    }
    arguments = TrainingArguments(**fields)
    # One process, one device: where several GPUs are seen, Trainer would wrap the model in DataParallel unasked, which
    # splits our batches along the wrong dimension. Several GPUs are for torchrun.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def last_checkpoint(scratch: Path) -> str | None:
    """The newest complete Trainer checkpoint in ``scratch``, to pass to ``train(resume_from_checkpoint=…)``."""
    found = [folder for folder in scratch.glob("checkpoint-*") if (folder / "trainer_state.json").is_file()]
    return str(max(found, key=lambda folder: int(folder.name.split("-")[1]))) if found else None
