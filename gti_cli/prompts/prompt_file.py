"""``gti_prompt.json``: the questions that a checkpoint was trained to answer, beside its weights.

Another program needs the file, the weights and the tokenizer, and nothing of `gti`, to ask exactly as `gti` does.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.checkpoints.configuration import read_config_file
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.checkpoints.token_names import boundary_tokens, code_pattern
from gti_cli.prompts import next_item, query
from gti_cli.prompts.chat import PLACEHOLDER, end_of_turn, split_prompt
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT_FILE = "gti_prompt.json"
NEXT_ITEM, SEARCH = "next-item", "search"
PRIOR_NOTE = (
    "The model was trained with a behaviour prior, which adds to the logits of the codes what other users chose. Plain "
    "`generate` leaves it out and ranks differently, as a rule worse; `gti recommend` and `gti evaluate` add it."
)
_FORMAT = 1  # of the file; it grows when a reader of the old one would go wrong


def write_prompt_file(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Collection[str],
    *,
    item_tokens: str,
    levels: int,
    style: str,
    wordings: int,
    history: int,
    prior: str | None = None,
) -> None:
    """Write ``gti_prompt.json`` into a checkpoint that was trained to answer with items; nothing for any other.

    Args:
        folder: The checkpoint.
        tokenizer: Its tokenizer.
        tasks: Names of the tasks that it was trained on.
        item_tokens: The tokens of any one item.
        levels: Number of codes of an item.
        style: One of `token_names.TOKEN_STYLES`.
        wordings: Number of wordings of the next-item prompt that it was trained on.
        history: Most items of a history that a prompt shows.
        prior: Name of the behaviour prior that the model was trained with, which is not in the weights. None: none.
    """
    begin, end = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in boundary_tokens(style))
    content: dict[str, Any] = {
        "format": _FORMAT,
        "item": {
            "codes": [code_pattern(level, style) for level in range(levels)],
            "opening": list(begin),
            "closing": list(end),
        },
        "end": end_of_turn(tokenizer),
    }
    if NEXT_ITEM in tasks:
        content[NEXT_ITEM] = {
            "system": next_item.SYSTEM,
            "wordings": [_wording(tokenizer, item_tokens, number) for number in range(wordings)],
            "history": history,
        }
        if prior is not None:
            content[NEXT_ITEM]["prior"] = {"name": prior, "file": PRIOR_FILE, "note": PRIOR_NOTE}
    if SEARCH in tasks:
        before, behind = split_prompt(tokenizer, query.SYSTEM, query.WORDING + PLACEHOLDER)
        content[SEARCH] = {
            "system": query.SYSTEM,
            "wording": query.WORDING,
            "before": before,
            "behind": behind,
            "add_special_tokens": tokenizer.chat_template is None,
            "query_tokens": query.MAX_QUERY_TOKENS,
        }
    if content.keys() & {NEXT_ITEM, SEARCH}:
        with replacing(folder / PROMPT_FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def asks_for_next_item(path: Path | None) -> bool:
    """Return whether a ``gti_prompt.json`` holds the question for a user's next item; None: the checkpoint has none.

    Raises:
        InputError: When it cannot be read.
    """
    return path is not None and path.is_file() and NEXT_ITEM in read_config_file(path)


def has_prior(folder: Path) -> bool:
    """Return whether a checkpoint was trained with a behaviour prior."""
    return (folder / PRIOR_FILE).is_file()


def _wording(tokenizer: PreTrainedTokenizerBase, item_tokens: str, number: int) -> dict[str, Any]:
    """Return a wording as text, and its token ids before and behind the history."""
    frame = next_item.make_frame(tokenizer, item_tokens, number)
    return {"text": next_item.WORDINGS[number], "before": frame.before, "behind": frame.behind}
