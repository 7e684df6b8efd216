"""The `transformers.TrainingArguments` that all training stages share, and the resuming of interrupted runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console, quick_start
from gti_cli.errors import InputError
from gti_cli.workspace import processes

if TYPE_CHECKING:
    import torch
    from transformers import Trainer, TrainingArguments


_STATE = "trainer_state.json"


def import_trainer(*, adapters: bool) -> None:
    """Import the Trainer, in a command without packages that it imports for what no command does.

    Call this before importing a module that uses the Trainer.

    Args:
        adapters: Whether a model of PEFT is to train, which the Trainer must know of.
    """
    quick_start.import_transformers("transformers.trainer", "datasets", *([] if adapters else ["peft"]))


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
    device: torch.device,
    report_to: Sequence[str] = (),
    **more: Any,
) -> TrainingArguments:
    """Build the arguments: checkpoints for resuming, logs for our progress bar and for experiment trackers.

    Args:
        scratch: Folder of the checkpoints, see `StageRun.scratch`.
        epochs: Passes over the data.
        max_steps: Number of steps; overrides ``epochs`` where it is given.
        batch_size: Examples in a step on each process.
        learning_rate: Peak, after a linear warm-up and before a linear decay to 0.
        seed: Seed of order and dropout.
        warmup_ratio: Share of the steps that the warm-up takes, rounded up. Its first step has the rate 0.
        weight_decay: Weight decay of an optimizer that the Trainer makes itself.
        save_steps: Steps between checkpoints. None: about ten checkpoints a run.
        gradient_checkpointing: Keep few activations and compute the others twice.
        device: Device of this process, as `gti_cli.checkpoints.devices.choose_device` returns it.
        report_to: Experiment trackers, see `gti_cli.training.callbacks.tracking`.
        **more: Further fields of `TrainingArguments`. The run computes in float32 unless ``bf16`` is among them,
            whatever mixed precision a launcher is set to: ``--dtype`` alone decides, as the manifest records.

    Raises:
        InputError: When a DeepSpeed configuration file sets another precision.
    """
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
        "logging_nan_inf_filter": False,  # it would hide a NaN from `callbacks.divergence`
        "report_to": list(report_to),
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": 0.1 if save_steps is None else save_steps,
        "save_total_limit": 1,
        "remove_unused_columns": False,
        "dataloader_drop_last": False,
        "ddp_find_unused_parameters": False,  # every trained parameter takes part in every step
        "use_cpu": device.type == "cpu",
        **(_checkpointing() if gradient_checkpointing else {}),
        **more,
    }
    arguments = _in_precision("bf16" if fields.get("bf16") else "no", fields, device)
    _use_only(arguments, device)
    return arguments


def planned_arguments(scratch: Path, steps: int, **more: Any) -> TrainingArguments:
    """Build the arguments of a run whose batches are planned beforehand.

    Args:
        scratch: `StageRun.scratch`, or a folder in it.
        steps: Steps of the run.
        **more: Further arguments of `training_arguments`.

    Returns:
        The arguments. Losses are logged every 10 steps (every step, if there are fewer than 200), and progress is saved
        about ten times a run. Saving in step with logging makes a resumed run log the same losses as an unbroken one.
    """
    if steps == 1:
        more["warmup_ratio"] = 0.0  # the first step of a warm-up has the rate 0: a run of one step would train nothing
    logging = 1 if steps < 200 else 10
    saving = max(steps // 10 // logging, 1) * logging
    return training_arguments(scratch, epochs=1, max_steps=steps, save_steps=saving, logging_steps=logging, **more)


def _checkpointing() -> dict[str, Any]:
    """The fields for gradient checkpointing. transformers 5.2x renamed them and warns at the old names."""
    from transformers import TrainingArguments

    names = TrainingArguments.__dataclass_fields__
    name = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def _in_precision(precision: str, fields: Mapping[str, Any], device: torch.device) -> TrainingArguments:
    """The arguments with ``precision`` ("no" or "bf16"), which overrides a launcher's setting."""
    from transformers import TrainingArguments

    os.environ["ACCELERATE_MIXED_PRECISION"] = precision
    arguments = TrainingArguments(**fields)
    if arguments.deepspeed_plugin is not None and device.type != "cpu":
        _check_deepspeed(arguments.deepspeed_plugin.deepspeed_config, precision)
    return arguments


def _check_deepspeed(config: Mapping[str, Any], precision: str) -> None:
    """Refuse a configuration with another precision than ``precision``: DeepSpeed's engine follows its own."""
    for name in ("bf16", "fp16"):
        enabled = config.get(name, {}).get("enabled", False)
        if enabled is not (name == precision):
            raise InputError(
                f"DeepSpeed's configuration sets {name} to {enabled}; --dtype asks for "
                f"{'bfloat16' if precision == 'bf16' else 'float32'}",
                remedy=f'set "enabled" of {name} to "auto" in it, or give --dtype accordingly',
            )


def _use_only(arguments: TrainingArguments, device: torch.device) -> None:
    """Train on ``device``, and on no other device of the machine."""
    import torch

    # One process uses one device. Where several GPUs are visible, the Trainer would wrap the model in DataParallel,
    # which splits our batches along the wrong dimension. Several GPUs need torchrun.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    if arguments.device.type == "cpu":
        # Among several processes the Trainer says "cpu:0", and some of its versions (5.4, say) map what they load to it
        # on resuming, which torch refuses.
        arguments.__dict__["_setup_devices"] = torch.device("cpu")
    if device.type == "cuda" and processes.world() == 1 and arguments.device != device:
        # Without torchrun the Trainer always takes the first GPU. We replace the device that it has cached, and make
        # ours the current GPU for accelerate, which says "cuda" without a number.
        arguments.__dict__["_setup_devices"] = device
        torch.cuda.set_device(device)


def last_checkpoint(scratch: Path) -> str | None:
    """The newest complete checkpoint of the Trainer in a folder; None where there is none.

    The Trainer writes its state after the weights, so a checkpoint without a state is incomplete. One whose state
    cannot be read is damaged: it is removed, and the next older one taken.

    Args:
        scratch: Folder of the checkpoints.
    """
    complete = [folder for folder in scratch.glob("checkpoint-*") if (folder / _STATE).is_file()]
    for folder in sorted(complete, key=lambda folder: int(folder.name.split("-")[1]), reverse=True):
        if _readable(folder / _STATE):
            return str(folder)
        console.warn(f"{folder / _STATE} is damaged: resuming from an older checkpoint, or from the start without one")
        if processes.rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)  # else it would count as the newest, and the new ones be removed
    return None


def _readable(state: Path) -> bool:
    try:
        return isinstance(json.loads(state.read_text("utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        return False


def train_or_resume(trainer: Trainer, checkpoint: str | None, finished: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Train from the start or from a checkpoint, and not at all where the checkpoint's run had stopped early.

    On resuming, the Trainer itself forgets that a callback had stopped the run. Checkpoints that cost too much time are
    left out, see `gti_cli.training.callbacks.saving`.

    Args:
        trainer: The Trainer.
        checkpoint: Folder of the checkpoint, see `last_checkpoint`. None: from the start.
        finished: Says by the Trainer's log whether the run had stopped early.
    """
    from transformers import TrainerState

    from gti_cli.training.callbacks.progress import ProgressBar
    from gti_cli.training.callbacks.saving import SkipCostlySaves

    trainer.add_callback(SkipCostlySaves())
    if checkpoint is not None:
        state = TrainerState.load_from_json(str(Path(checkpoint) / _STATE))
        if finished(state.log_history):
            trainer.state = state
            return
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    finally:  # The Trainer tells its callbacks nothing of an error.
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, ProgressBar):
                callback.close()
