"""The tokens that `gti finetune` trains on, built from its own layout and not from the exported rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.prompts.conversations import encode_conversations
from gti_cli.prompts.examples import Example
from gti_cli.prompts.next_item import encode_items, make_frame
from gti_cli.recommendation.options import TaskOptions
from gti_cli.recommendation.task_data import read_task_data
from gti_cli.recommendation.tasks import make_tasks
from gti_cli.training.batches.history_examples import HistoryExample, single_target_examples
from gti_cli.training.batches.history_packing import HistoryLayout
from gti_cli.workspace import Workspace


def trained_examples(
    workspace: Path, interactions: Path, queries: Path, tokenizer: Any, options: TaskOptions
) -> list[tuple[str, Example]]:
    """Kind and tokens of every example that finetune trains on, in the order of the exported rows.

    Args:
        workspace: Folder with ``grounded``, whose new tokens the examples have.
        interactions: Table of interactions.
        queries: Table of queries.
        tokenizer: Tokenizer of the checkpoint.
        options: The tasks.
    """
    space = Workspace(workspace)
    names = find_checkpoint(space, None, "grounded", "gti ground", weights=False).item_tokens()
    data = read_task_data(space, interactions, queries, options.tasks)
    tokens = data.catalogue.tokens
    frames = [make_frame(tokenizer, tokens[0], wording) for wording in range(3)]
    layout = HistoryLayout(frames[0], encode_items(tokenizer, tokens, names), 2, 0, tuple(frames[1:]))
    found: list[tuple[str, Example]] = []
    for task in make_tasks(data, tokenizer, options, 0):
        for example in task.train:
            if isinstance(example, HistoryExample):
                for single in single_target_examples(example):
                    answer = [*layout.item_token_ids[single.items[-1]].tolist(), encode_end(tokenizer)]
                    found.append((task.name, Example(layout.prompt(single), answer)))
            else:
                found.append((example.kind, encode_conversations(tokenizer, [example])[0]))
    return found


def encode_end(tokenizer: Any) -> int:
    """The token that ends an answer: all checkpoints that use this have ``<|im_end|>``."""
    return int(tokenizer.convert_tokens_to_ids("<|im_end|>"))


def spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` numbers below ``count``, evenly spread."""
    return sorted({round(n * (count - 1) / max(1, wanted - 1)) for n in range(min(count, wanted))})
