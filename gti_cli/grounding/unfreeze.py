"""The paper's second phase: after the new rows, some more steps over the same pairs with every weight trained.

Ordinary training of the whole model: nothing here is particular to new rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from gti_cli import console
from gti_cli.grounding.job import Job
from gti_cli.grounding.nll.batches import Corpus
from gti_cli.prompts.examples import IGNORED, Example, collate
from gti_cli.training.arguments import last_checkpoint, train_or_resume, training_arguments
from gti_cli.training.batches.plan import BatchPlan, SharedPlan
from gti_cli.training.callbacks.divergence import end_if_diverged
from gti_cli.training.callbacks.progress import show_progress
from gti_cli.training.callbacks.tracking import logs_in
from gti_cli.training.optimizer import adamw
from gti_cli.training.trainer import PlannedTrainer
from gti_cli.workspace import StageRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def sequence_loss(
    model: nn.Module, head: nn.Module, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihood of the answers in a batch of `prompts.examples.collate`; logits nowhere else.

    Args:
        model: a causal LM, possibly wrapped. head: its language-model head.

    Returns:
        the sum over the answers' tokens (0-dim float32, nats) and the number of these tokens (0-dim int64).
    """
    labels = batch["labels"][:, 1:]
    keep = labels != IGNORED
    handle = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, :-1][keep].unsqueeze(0),))
    try:
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    finally:
        handle.remove()
    return functional.cross_entropy(logits[0].float(), labels[keep], reduction="sum"), keep.sum()


class _Collator:
    def __init__(self, examples: Sequence[Example], pad: int) -> None:
        self._examples, self._pad = examples, pad

    def __call__(self, places: Sequence[int]) -> dict[str, torch.Tensor]:
        """The examples ``places``; a process without a share computes one that does not count."""
        batch = collate([self._examples[n] for n in places or [0]], self._pad)
        return {**batch, "weight": torch.tensor(float(bool(places)))}


def _weighted_loss(
    model: nn.Module, head: nn.Module, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """`sequence_loss`, zero for the batch of a process that had no share of a step."""
    loss, count = sequence_loss(model, head, batch)
    return loss * batch["weight"], (count * batch["weight"]).long()


def train_everything(job: Job, run: StageRun, model: PreTrainedModel, corpus: Corpus, pad: int) -> list[dict[str, Any]]:
    """Train every weight of ``model`` (float32) for ``unfreeze_steps`` steps; returns the Trainer's log.

    The examples are those of ``corpus``, in batches drawn anew. Learning rate: ``unfreeze_learning_rate`` at its peak,
    warm-up and decay as in the first phase. Progress is kept in a folder of its own, so a run that is interrupted here
    goes on here.
    """
    options = job.options
    steps = int(options.unfreeze_steps)
    lengths = [len(example) for example in corpus.examples]
    plan = BatchPlan(lengths, [1] * len(lengths), size=options.batch_size, epochs=0, max_steps=steps, seed=job.seed + 1)
    logging = 1 if steps < 200 else 10
    arguments = training_arguments(
        run.scratch / "unfrozen",
        epochs=1,
        max_steps=steps,
        batch_size=options.batch_size,
        learning_rate=options.unfreeze_learning_rate,
        seed=job.seed,
        save_steps=max(steps // 10 // logging, 1) * logging,
        logging_steps=logging,
        device=job.device,
        gradient_checkpointing=options.gradient_checkpointing,
        bf16=job.dtype == torch.bfloat16,
        report_to=job.report_to,
        run_name=f"{job.name}, everything trained",
    )
    model.requires_grad_(True)
    optimizer = adamw(model, options.unfreeze_learning_rate)
    with logs_in(job.logs / "unfrozen"):
        shared = SharedPlan(plan, arguments.world_size, arguments.process_index)
        collate_numbers = _Collator(corpus.examples, pad)
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        trainer = PlannedTrainer(
            model,
            arguments,
            collate_numbers,
            shared,
            len(lengths),
            optimizer,
            lambda wrapped, batch: _weighted_loss(wrapped, head, batch),
        )
    show_progress(trainer, "Grounding, everything trained")
    end_if_diverged(trainer, "--unfreeze-learning-rate")
    console.note(f"all weights of the model train for {steps:,} more steps: the checkpoint's old rows change too")
    train_or_resume(trainer, last_checkpoint(run.scratch / "unfrozen") if run.resuming else None, lambda _: False)
    model.eval()  # type: ignore[no-untyped-call]
    run.counts["unfrozen_steps"] = steps
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = losses[-max(len(losses) // 10, 1) :]
    run.metrics["unfrozen_train_loss"] = sum(last) / len(last)
    return list(trainer.state.log_history)
