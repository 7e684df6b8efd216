"""The tokens that other trainers make of our training examples, and where they differ from those that we train on.

Each function repeats what a trainer does with a row of ``gti export conversations``:

- `read_texts`: plain texts, ``prompt`` and ``completion`` (TRL): both are tokenised together, and what the prompt alone
  does not have carries the loss.
- `read_marked`: messages, and a chat template that marks the answers (TRL with ``assistant_only_loss``).
- `read_rendered`: messages, and the model's own chat template, which does not say which tokens carry the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.prompts.chat import PLACEHOLDER, end_of_turn, split_prompt, template_options
from gti_cli.prompts.conversations import Conversation
from gti_cli.prompts.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHOWN = 8  # tokens that show a difference


@dataclass(frozen=True)
class Reading:
    """A row as another trainer reads it.

    Attributes:
        ids: Token ids.
        trained: For each token whether it carries the loss.
    """

    ids: list[int]
    trained: list[bool]


def as_texts(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[tuple[str, str]]:
    """Write each conversation as a prompt, as the model is asked, and a completion that ends with the end token.

    A token that the tokenizer puts before every text is left out of the prompt: trainers tokenise with it.
    """
    opening = tokenizer.bos_token if _adds_opening(tokenizer) else None
    parts: dict[str, tuple[str, str]] = {}
    for system in {conversation.system for conversation in conversations}:
        before, behind = split_prompt(tokenizer, system, PLACEHOLDER)
        parts[system] = (before.removeprefix(opening) if opening else before, behind)
    end = str(tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)))
    return [(c.user.join(parts[c.system]), c.assistant + end) for c in conversations]


def read_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str]]) -> list[Reading]:
    """Tokenise prompts and completions as TRL does, where its end token is the one that ends the completions."""
    if not texts:
        return []
    prompts = tokenizer([prompt for prompt, _ in texts])["input_ids"]
    readings = []
    for prompt, ids in zip(prompts, tokenizer([a + b for a, b in texts])["input_ids"], strict=True):
        pairs = enumerate(zip(prompt, ids, strict=False))
        first = next((n for n, (a, b) in pairs if a != b), min(len(prompt), len(ids)))
        readings.append(Reading(list(ids), [n >= first for n in range(len(ids))]))
    return readings


def read_marked(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], template: str
) -> list[Reading]:
    """Render with a template that marks the answers, and tokenise."""
    if not conversations:
        return []
    made: Any = tokenizer.apply_chat_template(
        [conversation.messages(tokenizer) for conversation in conversations],
        chat_template=template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    pairs = zip(made["input_ids"], made["assistant_masks"], strict=True)
    return [Reading(list(ids), [bool(mark) for mark in marks]) for ids, marks in pairs]


def read_rendered(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[list[int]] | None:
    """Render with the model's own template, and tokenise; None where it renders no finished conversation."""
    if not conversations:
        return []
    from jinja2 import TemplateError

    options: dict[str, Any] = {**template_options(tokenizer)}
    try:
        texts = tokenizer.apply_chat_template(
            [conversation.messages(tokenizer) for conversation in conversations], tokenize=False, **options
        )
    except (InputError, TemplateError, TypeError, ValueError):
        return None
    return [list(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def difference(tokenizer: PreTrainedTokenizerBase, example: Example, reading: Reading) -> str | None:
    """Compare a row with the example that we train on.

    Args:
        tokenizer: Tokenizer of the model.
        example: The example.
        reading: The row as another trainer reads it.

    Returns:
        How they differ, as the end of a sentence; None where the tokens and the loss are the same.
    """
    ours, theirs = example.prompt + example.answer, reading.ids
    if theirs != ours:
        pairs = enumerate(zip(ours, theirs, strict=False))
        same = next((n for n, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
        found, expected = (tokenizer.decode(ids[same : same + _SHOWN]) for ids in (theirs, ours))
        return f"they read {found!r} where we train on {expected!r}"
    if reading.trained != [n >= len(example.prompt) for n in range(len(ours))]:
        found = tokenizer.decode([token for token, on in zip(theirs, reading.trained, strict=True) if on])
        return f"they train on {found!r} where we train on {tokenizer.decode(example.answer)!r}"
    return None


def _adds_opening(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer puts its begin-of-sequence token before every text."""
    return tokenizer.bos_token_id is not None and list(tokenizer("x")["input_ids"])[:1] == [tokenizer.bos_token_id]
