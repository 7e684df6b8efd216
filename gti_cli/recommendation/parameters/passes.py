"""How the steps of a run go through the model: with which loss, and in which passes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.recommendation.job import FinetuneJob
from gti_cli.training.batches.passes import PassLimit, collate_passes
from gti_cli.workspace import StageRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gti_cli.training.batches.mixture import ExampleCollator, TrainingExample
    from gti_cli.training.trainer import SummedLoss


def choose_passes(
    job: FinetuneJob,
    model: PreTrainedModel,
    trained: Any,
    collator: ExampleCollator,
    first: Sequence[TrainingExample],
    run: StageRun,
) -> tuple[SummedLoss, PassLimit]:
    """Choose the loss of a run, and how much of a step goes through the model at once.

    Args:
        job: The run.
        model: The model.
        trained: What trains: the model, or the model with adapters.
        collator: Makes batches.
        first: The examples of the first step.
        run: Gets ``measured["micro_batch"]``.

    Returns:
        The loss, which computes the model's head in chunks where that is possible; and the limit of a pass.
    """
    from gti_cli.training.answer_loss import answer_loss
    from gti_cli.training.micro_batch import MicroBatch, choose_micro_batch
    from gti_cli.training.model_head import find_model_head
    from gti_cli.training.sharding import requested_sharding

    options = job.options
    if requested_sharding() is not None:
        # Sharded layers are gathered by all processes together, in every pass; their numbers of passes may differ.
        return answer_loss, PassLimit()
    # A compiled forward pass has its head compiled with it, and peft's has rows of its own.
    head = None if options.compile or options.lora else find_model_head(model)
    loss = partial(answer_loss, head=head)
    run.measured["head_loss"] = "from all logits" if head is None else "in chunks"
    if options.micro_batch is not None:
        chosen = MicroBatch(PassLimit(targets=options.micro_batch))
    else:
        layers = int(getattr(model.config.get_text_config(), "num_hidden_layers", 1))
        checkpointed = layers if options.gradient_checkpointing else 0
        chosen = choose_micro_batch(
            trained, loss, collator, first, job.device, autocast=job.autocast, checkpointed_layers=checkpointed
        )
    run.measured["micro_batch"] = chosen.recorded()
    passes = len(collate_passes(collator, first, chosen.limit).get("passes", [0]))
    if options.micro_batch is None and passes > 1:
        console.note(
            f"at most {chosen.limit.tokens:,} tokens go through the model at once (a step in about {passes} passes), "
            "to save memory; --micro-batch sets another number"
        )
    return loss, chosen.limit
