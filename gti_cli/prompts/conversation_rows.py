"""The rows of ``gti export conversations``, and how many of them other trainers read otherwise than we train."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.prompts import thoughts
from gti_cli.prompts.chat import PLACEHOLDER, end_of_turn, split_prompt, template_options
from gti_cli.prompts.conversations import Conversation, encode_conversations, rendered_otherwise
from gti_cli.prompts.examples import Example
from gti_cli.prompts.other_trainers import as_texts, difference, read_marked, read_rendered, read_texts
from gti_cli.prompts.text_as_data import data_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MESSAGES, PROMPT_COMPLETION = FORMATS = ("messages", "prompt-completion")
TRL_MAX_LENGTH = 1024  # tokens at which TRL's SFTConfig cuts rows by default
_BLOCK = 2_000  # rows that are compared together, so that memory does not hold all


@dataclass
class Exported:
    """What was written.

    Attributes:
        kinds: Number of rows of each kind of conversation.
        otherwise: For each kind the number of rows of which other trainers make other tokens, or another loss.
        behind: Number of rows in which the chat template writes something behind the end of the answer. `finetune` does
            not train on it; a trainer that marks the whole turn does.
        behind_text: What it writes there.
        thoughts: Number of rows in which an empty thought stands between the question and the answer.
        longest: Tokens of the longest row.
        cut: Number of rows that TRL cuts unless it is told otherwise.
        end: The token that ends an answer.
        naming: Number of rows whose words hold the name of a control token or of a semantic ID's token, so that other
            trainers read that token.
        ends_as_trl: Whether the tokenizer names it as its end token, which TRL puts behind a completion.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    otherwise: Counter[str] = field(default_factory=Counter)
    behind: int = 0
    behind_text: str = ""
    thoughts: int = 0
    longest: int = 0
    cut: int = 0
    end: str = ""
    naming: int = 0
    ends_as_trl: bool = True

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.kinds.total()

    def numbers(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return {
            "rows": self.rows,
            "kinds": dict(self.kinds),
            "otherwise": dict(self.otherwise),
            "behind_the_end": self.behind,
            "with_empty_thought": self.thoughts,
            "naming_tokens": self.naming,
            "longest": self.longest,
            "longer_than_trl_takes": self.cut,
        }


class RowMaker:
    """Makes rows of conversations, and compares each with the tokens that `finetune` trains on."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, form: str, template: str | None) -> None:
        """Prepare.

        Args:
            tokenizer: Tokenizer of the checkpoint.
            form: ``messages`` or ``prompt-completion``.
            template: Template that marks the answers, where one is written.
        """
        self.tokenizer, self.form, self.template = tokenizer, form, template
        self.told: Mapping[str, bool] = template_options(tokenizer) if form == MESSAGES else {}
        self._thinks = thoughts.has_thought(split_prompt(tokenizer, "", PLACEHOLDER)[1])
        self._differences: dict[str, set[str]] = {}
        self._data = data_encoder(tokenizer)
        end = str(tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)))
        self.exported = Exported(end=end, ends_as_trl=tokenizer.eos_token == end)

    def rows(self, task: str, conversations: Iterable[Conversation]) -> Iterator[dict[str, Any]]:
        """Yield the row of each conversation: ``messages`` or ``prompt`` and ``completion``, and ``task``, its name."""
        more = {"chat_template_kwargs": dict(self.told)} if self.told else {}
        remaining = iter(conversations)
        while block := list(islice(remaining, _BLOCK)):
            examples = encode_conversations(self.tokenizer, block)
            self._count(block, examples)
            if self.form == PROMPT_COMPLETION:
                for prompt, completion in self._compared_texts(block, examples):
                    yield {"prompt": prompt, "completion": completion, "task": task}
                continue
            if self.template is None:
                self._compare_rendered(block, examples)
            else:
                self._compare_marked(block, examples, self.template)
            for conversation in block:
                yield {"messages": conversation.messages(self.tokenizer), "task": task, **more}

    def say_differences(self) -> None:
        """Say how many rows other trainers read otherwise, and how."""
        done = self.exported
        exact = self.form == PROMPT_COMPLETION or self.template is not None
        for found, kinds in self._differences.items():
            counted = ", ".join(f"{done.otherwise[kind]:,} of {done.kinds[kind]:,} {kind}" for kind in sorted(kinds))
            console.warn(
                f"other tools make other tokens of these rows than finetune trains on ({counted}): {found}"
                if not exact
                else f"TRL trains on other tokens of these rows than finetune ({counted}): {found}"
            )
        if done.naming:
            console.warn(
                f"{done.naming:,} of {done.rows:,} rows have words that hold the name of a control token or of a "
                "semantic ID's token (such as <|im_end|> or <a_12>): finetune reads them as plain text, other trainers "
                "as that token. Take the name out of the table, or put a space into it, before you train elsewhere"
            )
        if self.form == MESSAGES and self.template is None:
            self._say_what_is_trained_too()
        if done.cut:
            console.note(
                f"{done.cut:,} of {done.rows:,} rows have more than {TRL_MAX_LENGTH:,} tokens (the longest "
                f"{done.longest:,}); TRL cuts them off there, unless SFTConfig has max_length=None"
            )
        if self.told:
            console.note(
                "the chat template thinks unless it is told otherwise: the rows have chat_template_kwargs, which TRL "
                f"passes on; give other tools the same ({json.dumps(self.told)})"
            )

    def _say_what_is_trained_too(self) -> None:
        """Say what stands in the assistant's turn beside the answer and its end token."""
        done, remedy = self.exported, "--training-template and --format prompt-completion leave it out"
        if done.behind:
            console.note(
                f"{done.behind:,} of {done.rows:,} rows have {done.behind_text!r} behind {done.end}, as the chat "
                f"template writes it; finetune does not train on it, other trainers do ({remedy})"
            )
        if done.thoughts:
            console.note(
                f"{done.thoughts:,} of {done.rows:,} rows have an empty thought before the answer, as the chat "
                f"template writes it; finetune does not train on it, trainers of the whole turn do ({remedy})"
            )

    def _count(self, block: Sequence[Conversation], examples: Sequence[Example]) -> None:
        self.exported.kinds.update(conversation.kind for conversation in block)
        lengths = [len(example) for example in examples]
        self.exported.longest = max(self.exported.longest, *lengths)
        self.exported.cut += sum(length > TRL_MAX_LENGTH for length in lengths)

    def _compare_marked(self, block: Sequence[Conversation], examples: Sequence[Example], template: str) -> None:
        """Compare with what a trainer makes of the messages by a template that marks the answers."""
        readings = read_marked(self.tokenizer, block, template)
        for conversation, example, read in zip(block, examples, readings, strict=True):
            self._note(conversation, difference(self.tokenizer, example, read))

    def _compare_rendered(self, block: Sequence[Conversation], examples: Sequence[Example]) -> None:
        """Compare with what a trainer makes of the messages by the chat template."""
        rendered = None if self.tokenizer.chat_template is None else read_rendered(self.tokenizer, block)
        for n, (conversation, example) in enumerate(zip(block, examples, strict=True)):
            ours, theirs = example.prompt + example.answer, [] if rendered is None else rendered[n]
            if theirs[: len(ours)] != ours:
                known = self.exported.otherwise[conversation.kind]  # one difference of each kind is described
                self._note(conversation, "" if known else rendered_otherwise(self.tokenizer, conversation) or "")
                continue
            self.exported.thoughts += self._thinks
            if behind := theirs[len(ours) :]:
                self.exported.behind += 1
                self.exported.behind_text = self.exported.behind_text or str(self.tokenizer.decode(behind))

    def _compared_texts(self, block: Sequence[Conversation], examples: Sequence[Example]) -> list[tuple[str, str]]:
        """Return prompt and completion of each, compared with what TRL makes of them."""
        texts = as_texts(self.tokenizer, block)
        for conversation, example, read in zip(block, examples, read_texts(self.tokenizer, texts), strict=True):
            self._note(conversation, difference(self.tokenizer, example, read))
        return texts

    def _note(self, conversation: Conversation, found: str | None) -> None:
        """Count a row that differs; keep how the first one of its kind does."""
        if found is None:
            return
        if conversation.data and self._data.holds_name(getattr(conversation, conversation.data)):
            self.exported.naming += 1
            return
        if not self.exported.otherwise[conversation.kind]:
            self._differences.setdefault(found, set()).add(conversation.kind)
        self.exported.otherwise[conversation.kind] += 1
