"""A training example as text: the messages of the system, the user and the assistant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from gti_cli.errors import InputError
from gti_cli.prompts.chat import PLACEHOLDER, end_of_turn, render_conversation, split_prompt, template_options, turns
from gti_cli.prompts.examples import Example
from gti_cli.prompts.text_as_data import encode_between

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

USER, ASSISTANT = "user", "assistant"
_SHOWN = 8  # tokens that show a difference


@dataclass(frozen=True)
class Conversation:
    """One question and its answer; the texts have no white space at either end.

    Attributes:
        kind: Name of the task that the question belongs to, e.g. ``"search"``.
        system: Text of the system message; empty for none.
        user: The question.
        assistant: The answer.
        data: `USER` or `ASSISTANT`, the message that holds words of a table: it is read as data (see
            `gti_cli.prompts.text_as_data`). The other one may hold semantic-ID tokens. None: both may.
    """

    kind: str
    system: str
    user: str
    assistant: str
    data: str | None = None

    def messages(self, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
        """Return ``[{"role": …, "content": …}, …]``, as chat datasets have it and as the chat template accepts it.

        Raises:
            InputError: When the tokenizer's chat template cannot be rendered.
        """
        return [*turns(tokenizer, self.system, self.user), {"role": "assistant", "content": self.assistant}]


def encode_conversations(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[Example]:
    """Tokenise the prompt and the answer of each conversation.

    The result equals `chat.encode_prompt` and `chat.encode_answer` on each conversation whose words hold no name of a
    token, and a name in the words becomes no token. It is faster: the template is rendered once for each system
    message, and all texts are tokenised in one call.
    """
    if not conversations:
        return []
    systems = {conversation.system for conversation in conversations}
    prompt_parts = {system: split_prompt(tokenizer, system, PLACEHOLDER) for system in systems}
    prompt_ids = encode_between(
        tokenizer,
        [c.user for c in conversations],
        [prompt_parts[c.system] for c in conversations],
        data=[c.data == USER for c in conversations],
        # A chat template writes the opening token itself. A plain prompt gets it from the tokenizer.
        add_special_tokens=tokenizer.chat_template is None,
    )
    answer_ids = encode_between(
        tokenizer,
        [c.assistant for c in conversations],
        [("", "")] * len(conversations),
        data=[c.data == ASSISTANT for c in conversations],
        add_special_tokens=False,
    )
    end = end_of_turn(tokenizer)
    return [Example(p, [*a, end]) for p, a in zip(prompt_ids, answer_ids, strict=True)]


def rendered_otherwise(tokenizer: PreTrainedTokenizerBase, conversation: Conversation) -> str | None:
    """Compare the tokens that we train on with those that another tool makes of the conversation's messages.

    Args:
        tokenizer: Tokenizer of the model; other tools render with its chat template.
        conversation: Any conversation of a kind.

    Returns:
        How they differ, as the end of a sentence; None where the tokens are the same. What a template puts behind the
        end of the answer does not count.
    """
    if tokenizer.chat_template is None:
        return "the tokenizer has no chat template, so each tool has a form of its own; we train on plain text"
    [example] = encode_conversations(tokenizer, [conversation])
    ours, messages = example.prompt + example.answer, conversation.messages(tokenizer)
    try:
        dated = render_conversation(tokenizer, messages)
        options: dict[str, Any] = {**template_options(tokenizer)}
        rendered = str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    except InputError:
        return "the chat template renders no finished conversation"
    theirs = list(tokenizer(dated, add_special_tokens=False)["input_ids"])
    if theirs[: len(ours)] != ours:
        same = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(theirs))
        found, expected = (tokenizer.decode(ids[same : same + _SHOWN]) for ids in (theirs, ours))
        return f"the chat template writes {found!r} where we train on {expected!r}"
    if rendered != dated:
        return "the chat template writes the date of the day, and our prompts say 26 July 2024"
    return None


class Made(Sequence[Conversation]):
    """Conversations that are made when they are asked for: those of a million items would fill the memory."""

    def __init__(self, count: int, make: Callable[[int], Conversation]) -> None:
        """Prepare them.

        Args:
            count: Their number.
            make: Makes the one with a number from 0.
        """
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Conversation: ...

    @overload
    def __getitem__(self, index: slice) -> list[Conversation]: ...

    def __getitem__(self, index: int | slice) -> Conversation | list[Conversation]:
        if isinstance(index, slice):
            return [self._make(number) for number in range(*index.indices(self._count))]
        number = index + self._count if index < 0 else index
        if not 0 <= number < self._count:
            raise IndexError(index)
        return self._make(number)
