"""Validation of a fine-tuning run: how often, on which prompts, and the loss before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from gti_cli import console
from gti_cli.prompts.examples import Example
from gti_cli.recommendation.options import MAX_UNVALIDATED_EPOCHS
from gti_cli.recommendation.task_data import NEXT_ITEM

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gti_cli.recommendation.examples import TaskExamples
    from gti_cli.recommendation.job import FinetuneJob
    from gti_cli.recommendation.parameters.prior import JobPrior
    from gti_cli.training.batches.history_examples import HistoryExample
    from gti_cli.training.batches.mixture import MixedPlan
    from gti_cli.training.callbacks.validation import Validation
    from gti_cli.workspace import StageRun

MAX_VALIDATIONS = 20  # of a run whose options do not say how many
# Examples in a batch for the validation loss: on a CPU fewer, which take a quarter of the memory and no more time.
_LOSS_BATCH = {"cpu": 16}
_LOSS_BATCH_ELSEWHERE = 64


def default_validations(passes: float) -> int:
    """Number of validations of a run whose options do not say how many: one a pass, at most `MAX_VALIDATIONS`.

    Runs of up to three passes have none, since their last weights were the best (office, 5-million-parameter LM: R@10
    .086 and .116 after 1 and 3 epochs). Longer runs learn the training answers by heart: ten epochs end at .094, and
    the best weights on the way have .107 (in a run of five epochs: .121).

    Args:
        passes: How often the run goes through the training targets of the task that is ranked.
    """
    whole = round(passes)
    return 0 if whole <= MAX_UNVALIDATED_EPOCHS else min(whole, MAX_VALIDATIONS)


def with_validations(job: FinetuneJob, plan: MixedPlan) -> FinetuneJob:
    """The job with its number of validations: as given, or by the length of the run where its task can be ranked.

    Args:
        job: The run.
        plan: Its batches.
    """
    from gti_cli.training.sharding import requested_sharding

    if job.options.validations is not None:
        return job
    ranked_task = next((task.name for task in job.tasks if task.target_rows), None)
    count = default_validations(plan.passes(len(plan))[ranked_task]) if ranked_task is not None else 0
    if count and requested_sharding() is not None:
        console.warn(
            "a sharded model cannot be validated during training, so the last weights are kept; after many epochs "
            "they may not be the best"
        )
        count = 0
    if count:
        console.note(
            f"validating {count} times during training, to keep the best weights (--validations 0 keeps the last)"
        )
    return replace(job, options=replace(job.options, validations=count))


def ranking_prompts(job: FinetuneJob, examples: TaskExamples) -> tuple[str, list[list[int]], list[int]]:
    """The prompts that validation ranks the catalogue for: those of the first task whose answers are items.

    Args:
        job: The run.
        examples: Its examples.

    Returns:
        The task's name, token ids of at most ``rank_sample`` prompts, and the catalogue row of each prompt's target.
    """
    task = next(task for task in job.tasks if task.target_rows)
    step = _ranking_step(job)
    layout = examples.collator.layout
    prompts = [
        list(example.prompt) if isinstance(example, Example) else layout.prompt(example)
        for example in examples.valid[task.name][::step]
    ]
    # The search is over codes, so each prompt includes what stands before an item's first code.
    return task.name, [[*prompt, *layout.frame.opening] for prompt in prompts], list(task.target_rows[::step])


def _ranking_step(job: FinetuneJob) -> int:
    """Every how manyth validation example of the ranked task is ranked."""
    task = next(task for task in job.tasks if task.target_rows)
    return -(-len(task.target_rows) // job.options.rank_sample)


def make_validation(
    job: FinetuneJob,
    model: PreTrainedModel,
    trained: Any,
    examples: TaskExamples,
    run: StageRun,
    steps: int,
    prior: JobPrior | None = None,
) -> Validation | None:
    """The callback that validates during training; None where the options say no.

    Args:
        job: The run.
        model: Model that computes with all that is trained, adapters included.
        trained: Module whose parameters train.
        examples: The run's examples.
        run: Gets the number of prompts in ``counts``.
        steps: Number of steps of the run.
        prior: The behaviour prior of the run.
    """
    from gti_cli.checkpoints.new_tokens import code_ids
    from gti_cli.training.callbacks.validation import Ranker, Validation, validation_steps
    from gti_cli.training.compiled import uncompiled

    if not job.options.validations:
        return None
    task, prompts, target_rows = ranking_prompts(job, examples)
    run.counts["valid_users_ranked" if task == NEXT_ITEM else "valid_queries_ranked"] = len(prompts)
    ids = code_ids(job.new_tokens, job.sizes)
    pad_id = examples.collator.layout.pad_id
    ranker = Ranker(job.data.catalogue.codes, ids, prompts, target_rows, pad_id, job.device, job.autocast)
    if prior is not None and task == NEXT_ITEM:
        ranked = cast("Sequence[HistoryExample]", examples.valid[task][:: _ranking_step(job)])
        histories = [example.items[:-1] for example in ranked]
        ranker = replace(ranker, prior=prior.behind(histories, model))

    def measure() -> float:
        """NDCG@10 with the weights as they are."""
        with uncompiled(trained):
            return ranker(model)

    due = validation_steps(steps, job.options.validations)
    return Validation(measure, trained, run.scratch, due, job.options.patience)


def validation_losses(job: FinetuneJob, model: PreTrainedModel, examples: TaskExamples) -> dict[str, float]:
    """Mean loss per answer token of each task that has validation examples.

    Args:
        job: The run.
        model: The model.
        examples: The run's examples.
    """
    from gti_cli.training.answer_loss import mean_loss

    size = _LOSS_BATCH.get(job.device.type, _LOSS_BATCH_ELSEWHERE)
    return {
        name: mean_loss(model, examples.collator, valid, size, job.device, job.autocast)
        for name, valid in examples.valid.items()
        if valid
    }
