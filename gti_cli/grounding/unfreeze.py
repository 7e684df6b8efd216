"""The paper's second phase: after the new rows have trained, more steps over the same pairs with every weight trained.

Called by `train`. This is ordinary training of a whole model; nothing in it is particular to new rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from gti_cli import console
from gti_cli.grounding.evaluations import trajectory
from gti_cli.grounding.job import GroundingJob
from gti_cli.grounding.nll.build_corpus import build_corpus
from gti_cli.grounding.nll.measures import pair_measures
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import IGNORED, Example, collate
from gti_cli.training.adamw import adamw
from gti_cli.training.arguments import last_checkpoint, planned_arguments, train_or_resume
from gti_cli.training.batches.batch_plan import BatchPlan, SharedPlan
from gti_cli.training.batches.stored_examples import example_lengths
from gti_cli.training.callbacks.divergence import end_if_diverged
from gti_cli.training.callbacks.progress import show_progress
from gti_cli.training.callbacks.tracking import logs_in
from gti_cli.training.trainer import PlannedTrainer, last_tenth_loss
from gti_cli.workspace import StageRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gti_cli.grounding.nll.task import SplitPairs


def train_unfrozen(
    job: GroundingJob,
    run: StageRun,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: SplitPairs,
    curve: dict[str, list[Any]],
) -> dict[str, list[Any]]:
    """Train every weight, and measure.

    Args:
        job: The run.
        run: Receives the figures; those of the first phase stay as ``…_frozen``.
        model: The model with the trained rows, in float32. Trained in place.
        tokenizer: Its tokenizer.
        pairs: The same pairs as in the first phase.
        curve: Columns of the first phase's trajectory.

    Returns:
        Columns of the trajectory of both phases.
    """
    corpus = build_corpus(job, model, None, tokenizer, pairs.train, run.work / "unfrozen-pairs.arrow")
    log = train_everything(job, run, model, corpus.examples, int(tokenizer.pad_token_id))
    rows = NewRows(model, torch.tensor(job.new_tokens.ids))
    with rows.attached():
        measures = pair_measures(job, run, model, rows, tokenizer, pairs.held_out)
        last_point = measures.curve_figures()
        figures = {**last_point, **measures.retrieval_figures()}
    run.metrics.update({f"{name}_frozen": run.metrics[name] for name in figures if "chance" not in name})
    run.metrics.update(figures)
    # Steps of the second curve go on counting. Its step 0 is the first curve's last point, so it is left out.
    first_steps = curve["step"][-1]
    second = trajectory([*log, {"step": job.options.unfreeze_steps, **last_point}], dict.fromkeys(last_point))
    second["step"] = [first_steps + step for step in second["step"]]
    return {name: [*values, *second[name][1:]] for name, values in curve.items()}


def train_everything(
    job: GroundingJob, run: StageRun, model: PreTrainedModel, examples: Sequence[Example], pad: int
) -> list[dict[str, Any]]:
    """Train every weight of a model for ``unfreeze_steps`` steps.

    The learning rate peaks at ``unfreeze_learning_rate``, with warm-up and decay as in the first phase. Progress is
    saved in a folder of its own, so an interruption in this phase does not repeat the first.

    Args:
        job: The run.
        run: Receives the number of steps and the training loss.
        model: The model, in float32. Trained in place.
        examples: The training examples; their batches are drawn anew.
        pad: Token id that fills rows up.

    Returns:
        The Trainer's log.
    """
    options = job.options
    steps = int(options.unfreeze_steps)
    lengths = example_lengths(examples)
    plan = BatchPlan(lengths, [1] * len(lengths), size=options.batch_size, epochs=0, max_steps=steps, seed=job.seed + 1)
    arguments = planned_arguments(
        run.scratch / "unfrozen",
        steps,
        batch_size=options.batch_size,
        learning_rate=options.unfreeze_learning_rate,
        seed=job.seed,
        device=job.device,
        gradient_checkpointing=options.gradient_checkpointing,
        bf16=job.dtype == torch.bfloat16,
        report_to=job.report_to,
        run_name=f"{job.name}, everything trained",
    )
    model.requires_grad_(True)
    optimizer = adamw(model, options.unfreeze_learning_rate)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    with logs_in(job.logs / "unfrozen"):
        trainer = PlannedTrainer(
            model,
            arguments,
            _Collator(examples, pad),
            SharedPlan(plan, arguments.world_size, arguments.process_index),
            len(lengths),
            optimizer,
            lambda wrapped, batch: _weighted_loss(wrapped, head, batch),
        )
    show_progress(trainer, "Grounding, everything trained")
    end_if_diverged(trainer, "--unfreeze-learning-rate")
    console.note(f"all weights of the model train for {steps:,} more steps: pretrained rows change too")
    train_or_resume(trainer, last_checkpoint(run.scratch / "unfrozen") if run.resuming else None, lambda _: False)
    model.eval()  # type: ignore[no-untyped-call]
    run.counts["unfrozen_steps"] = steps
    run.metrics["unfrozen_train_loss"] = last_tenth_loss(trainer.state.log_history)
    return list(trainer.state.log_history)


class _Collator:
    """Puts whole examples into a batch."""

    def __init__(self, examples: Sequence[Example], pad: int) -> None:
        self._examples, self._pad = examples, pad

    def __call__(self, numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        """Collate the examples ``numbers``; a process without a share gets the first example, with weight 0."""
        batch = collate([self._examples[n] for n in numbers or [0]], self._pad)
        return {**batch, "weight": torch.tensor(float(bool(numbers)))}


def _weighted_loss(
    model: nn.Module, head: nn.Module, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """`sequence_loss` times the batch's weight: 0 for a process that had no share of a step."""
    loss, count = sequence_loss(model, head, batch)
    return loss * batch["weight"], (count * batch["weight"]).long()


def sequence_loss(
    model: nn.Module, head: nn.Module, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihood of the answers in a batch, with logits computed only where an answer token is predicted.

    `gti_cli.training.answer_loss` does the same for fine-tuning, but passes position numbers and relies on the model's
    ``logits_to_keep``. Here sequences begin in column 0 and are filled up on the right, and the model gets no position
    numbers. So every kind of model computes the right loss, also one whose attention counts columns (ALiBi, a local
    window), and one that keeps a recurrent state.

    Args:
        model: A causal LM, possibly wrapped by the Trainer.
        head: Its output head.
        batch: A batch of `prompts.examples.collate`.

    Returns:
        The sum over the answers' tokens (0-dim float32, nats) and the number of these tokens (0-dim int64).
    """
    labels = batch["labels"][:, 1:]
    predicts = labels != IGNORED  # (B, T - 1): positions that predict an answer token
    # The head sees the hidden states of these positions only, as one row (1, m, d).
    handle = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, :-1][predicts].unsqueeze(0),))
    try:
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    finally:
        handle.remove()
    return functional.cross_entropy(logits[0].float(), labels[predicts], reduction="sum"), predicts.sum()
