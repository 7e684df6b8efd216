"""A training example in words: what the system, the user and the assistant say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gti_cli.prompts.chat import end_of_turn, render_prompt, turns
from gti_cli.prompts.examples import Example
from gti_cli.prompts.pairs import MARK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Conversation:
    """One question and its answer.

    Attributes:
        kind: what sort of question. system, user, assistant: the messages, without white space around them.
    """

    kind: str
    system: str
    user: str
    assistant: str

    def messages(self, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
        """As chat datasets write it: ``[{"role": …, "content": …}, …]``, for the chat template of ``tokenizer``.

        Raises:
            InputError: that template cannot be rendered.
        """
        return [*turns(tokenizer, self.system, self.user), {"role": "assistant", "content": self.assistant}]


def encode_conversations(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[Example]:
    """Token ids of each prompt and answer.

    Equal to `chat.encode_prompt` and `chat.encode_answer` on each, but the template is rendered once for each system
    message and the texts are tokenised together.
    """
    if not conversations:
        return []
    around = {system: _around(tokenizer, system) for system in {c.system for c in conversations}}
    prompts = [c.user.join(around[c.system]) for c in conversations]
    # A chat template writes its own opening token; a plain prompt needs the tokenizer's.
    plain = tokenizer.chat_template is None
    prompt_ids = tokenizer(prompts, add_special_tokens=plain)["input_ids"]
    answer_ids = tokenizer([c.assistant for c in conversations], add_special_tokens=False)["input_ids"]
    end = end_of_turn(tokenizer)
    return [Example(list(p), [*a, end]) for p, a in zip(prompt_ids, answer_ids, strict=True)]


def _around(tokenizer: PreTrainedTokenizerBase, system: str) -> tuple[str, str]:
    """What the template puts before and behind the user's words."""
    before, mark, behind = render_prompt(tokenizer, system, MARK).partition(MARK)
    if not mark:
        raise ValueError("the chat template does not repeat the user's message")
    return before, behind
