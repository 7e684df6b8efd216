"""The tasks as training examples: encoded, checked against the model's positions, and packed if the model allows it.

Conversations are tokenised here. History examples stay catalogue rows: `history_layout` tokenises the items once, and
`gti_cli.training.batches.history_packing` puts their token ids together batch by batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gti_cli import console
from gti_cli.checkpoints.limits import check_positions
from gti_cli.errors import InputError
from gti_cli.prompts.chat import end_of_turn
from gti_cli.prompts.conversations import Conversation, encode_conversations
from gti_cli.prompts.next_item import WORDINGS, encode_items, make_frame
from gti_cli.recommendation.job import FinetuneJob
from gti_cli.recommendation.task_data import NEXT_ITEM
from gti_cli.training.batches.history_arrays import HistoryExamples
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.training.batches.history_packing import HistoryLayout, equal_cost_length
from gti_cli.training.batches.mixture import ExampleCollator, MixedPlan, TrainingExample
from gti_cli.training.batches.stored_examples import ORDINARY, Concatenated, how_kept, in_parts, keep_examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gti_cli.workspace import StageRun


@dataclass
class TaskExamples:
    """Training and validation examples of each task.

    Attributes:
        collator: Makes batches of them.
        train: Training examples by task, in the order of the tasks; in memory or in a file.
        valid: Validation examples by task, in the same order.
    """

    collator: ExampleCollator
    train: dict[str, Sequence[TrainingExample]]
    valid: dict[str, Sequence[TrainingExample]]

    @property
    def histories(self) -> HistoryExamples | None:
        """The training examples of the next-item task; None without that task."""
        return cast("HistoryExamples | None", self.train.get(NEXT_ITEM))

    def all_train(self) -> Sequence[TrainingExample]:
        """The training examples of all tasks, one task after another, as a `MixedPlan` counts them."""
        return Concatenated(list(self.train.values()))

    def kept_in(self) -> dict[str, str]:
        """Where the training examples of each task are, for the manifest."""
        return {name: how_kept(examples) for name, examples in self.train.items()}

    def plan(self, weights: Mapping[str, float] | None, **settings: Any) -> MixedPlan:
        """The batches of a run.

        Args:
            weights: Weight of each task in a step. None: its number of targets.
            **settings: Further arguments of `MixedPlan`.
        """
        sizes = {name: self.collator.sizes(examples) for name, examples in self.train.items()}
        return MixedPlan(sizes, weights, **settings)


def encode_tasks(job: FinetuneJob, config: Any, work: Path) -> TaskExamples:
    """Encode the tasks of a job.

    Args:
        job: The run.
        config: Configuration of the model.
        work: Folder for examples that are too many for the memory.

    Raises:
        InputError: When a sequence is longer than the model has positions.
    """
    train = {task.name: _encode(job.tokenizer, task.train, work / f"{task.name}.arrow") for task in job.tasks}
    valid = {task.name: _encode(job.tokenizer, task.valid, work / f"{task.name}-valid.arrow") for task in job.tasks}
    examples = TaskExamples(ExampleCollator(history_layout(job)), train, valid)
    _check_length(config, examples, job)
    return examples


def history_layout(job: FinetuneJob) -> HistoryLayout:
    """The layout of the job's history examples, in as many wordings as the options say."""
    tokens = job.data.catalogue.tokens
    item_token_ids = encode_items(job.tokenizer, tokens, job.new_tokens)
    wordings = range(len(WORDINGS))[: job.options.wordings]
    first, *others = (make_frame(job.tokenizer, tokens[0], wording) for wording in wordings)
    pad_id = int(job.tokenizer.pad_token_id)
    return HistoryLayout(first, item_token_ids, end_of_turn(job.tokenizer), pad_id, tuple(others))


def pack_histories(job: FinetuneJob, model: PreTrainedModel, examples: TaskExamples, run: StageRun) -> None:
    """Choose the densest form of the history examples that the model supports, and record it in the manifest.

    With several targets in an example and several examples in a row, each history is read once. That needs a mask of
    our own, which not every model's attention takes. Without it, each target becomes an example of its own.

    Args:
        job: The run.
        model: The model, tried on some examples.
        examples: The run's examples; they and their collator are changed.
        run: Gets ``details["packing"]``.
    """
    from gti_cli.training.answer_loss import supports_tree_mask

    histories, unpacked = examples.histories, examples.collator.layout
    packed = replace(unpacked, equal_cost_length=equal_cost_length(model.config.get_text_config().hidden_size))
    if job.options.targets == "last" or histories is None:
        run.details["packing"] = "separate examples"  # every example has one target already
    elif supports_tree_mask(model, packed, histories, job.device):
        run.details["packing"] = "history trees"
        examples.collator = ExampleCollator(packed)
    elif supports_tree_mask(model, unpacked, histories, job.device):
        run.details["packing"] = "history trees, one in a row"
    else:
        run.details["packing"] = "separate examples"
        if any(count > 1 for count in examples.collator.sizes(histories)[1]):
            console.note(
                f"{type(model).__name__}'s attention does not take the mask of history trees (all targets of a "
                "history in one sequence): training on a separate example for each target, with the same result but "
                "several times slower"
            )
        examples.train[NEXT_ITEM] = histories.single_targets()


def _encode(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[HistoryExample] | Sequence[Conversation], file: Path
) -> Sequence[TrainingExample]:
    """A task's examples: history examples as they are (they become tokens in a batch), conversations tokenised."""
    if isinstance(examples, HistoryExamples):
        return examples
    if any(isinstance(example, HistoryExample) for example in examples[:1]):
        return cast("Sequence[HistoryExample]", examples)
    conversations = cast("Sequence[Conversation]", examples)
    parts = (encode_conversations(tokenizer, part) for part in in_parts(conversations))
    return keep_examples(parts, len(conversations), file, ORDINARY)


def _check_length(config: Any, examples: TaskExamples, job: FinetuneJob) -> None:
    """Refuse sequences that are longer than the model has positions, with the option that makes them shorter."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is None:
        return
    layout = examples.collator.layout
    items = prefix = tokens_of_ordinary = 0
    if examples.histories is not None:
        items = int(examples.histories.lengths.max()) - 1
        prefix = int(layout.prefix_lengths[np.unique(examples.histories.wordings)].max())
    others = (part for part in examples.train.values() if part is not examples.histories)
    for example in chain(*others, *examples.valid.values()):
        if isinstance(example, HistoryExample):
            items = max(items, len(example.items) - 1)
            prefix = max(prefix, len(layout.template_prefix(example)))
        else:
            tokens_of_ordinary = max(tokens_of_ordinary, len(example))
    if items:
        # The branches of a tree start at most at the end of its history, so its last position is that of one branch.
        tokens = prefix + items * layout.levels + layout.branch_length
        if tokens > positions:
            fits = (positions - tokens) // layout.levels + items
            raise InputError(
                f"a history of {items} items makes {tokens:,} tokens, more than the {positions:,} positions of the "
                "model",
                where=job.checkpoint.path,
                remedy=f"use --history {fits} or fewer" if fits > 0 else "use a model with more positions",
            )
    remedy = "use a smaller --max-text-tokens or --history"
    check_positions(config, tokens_of_ordinary, job.checkpoint.path, remedy=remedy)
