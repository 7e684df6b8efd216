"""How a model is asked, for the example of its card: the words of its prompt around a history or a query."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.checkpoints.token_names import boundary_tokens
from gti_cli.prompts import next_item, query
from gti_cli.prompts.chat import PLACEHOLDER, split_prompt
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from gti_cli.checkpoints.new_tokens import NewTokens

NEXT_ITEM, SEARCH = "next-item", "search"
_QUERY = "linen shirt"  # an example


@dataclass(frozen=True)
class Usage:
    """How the model is asked for items.

    Attributes:
        task: `NEXT_ITEM` or `SEARCH`.
        before: Text of the prompt before the history or the query.
        behind: Text of the prompt after it.
        example: A history of two Semantic IDs, or a query.
        special_tokens: Whether the tokenizer adds its special tokens; a chat template writes them itself.
        answer_tokens: Number of tokens of an item.
    """

    task: str
    before: str
    behind: str
    example: str
    special_tokens: bool
    answer_tokens: int


def usage_of(folder: Path, manifest: Manifest) -> Usage | None:
    """Find out how a checkpoint is asked for items; None for one that was not trained to answer with items.

    Args:
        folder: The checkpoint.
        manifest: Its manifest.
    """
    tasks = [str(task).partition(":")[0] for task in manifest.options.get("tasks", [NEXT_ITEM])]
    task = next((name for name in (NEXT_ITEM, SEARCH) if name in tasks), None)
    if manifest.command != "finetune" or task is None:
        return None
    tokens = Checkpoint(str(folder), True, manifest, None).item_tokens()
    if not (tokens.levels >= 0).any():
        return None
    tokenizer = load_tokenizer(str(folder))
    first, last = _item(tokens, first=True), _item(tokens, first=False)
    system, wording = (next_item.SYSTEM, next_item.WORDINGS[0]) if task == NEXT_ITEM else (query.SYSTEM, query.WORDING)
    before, behind = split_prompt(tokenizer, system, wording + PLACEHOLDER)
    return Usage(
        task=task,
        before=before,
        behind=behind,
        example=first + last if task == NEXT_ITEM else _QUERY,
        special_tokens=tokenizer.chat_template is None,
        answer_tokens=len(tokenizer(first, add_special_tokens=False)["input_ids"]),
    )


def _item(tokens: NewTokens, *, first: bool) -> str:
    """Write a Semantic ID of the first or of the last code of each level."""
    by_level: dict[int, dict[int, str]] = {}
    for level, code, name in zip(tokens.levels.tolist(), tokens.codes.tolist(), tokens.names, strict=True):
        if level >= 0:
            by_level.setdefault(level, {})[code] = name
    begin, end = boundary_tokens(tokens.style)
    codes = [by_level[level][min(by_level[level]) if first else max(by_level[level])] for level in sorted(by_level)]
    return begin + "".join(codes) + end
