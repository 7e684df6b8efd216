"""Pairs of a text and the tokens that mean the same, as questions in both directions: text to tokens, tokens to text.

Each direction has three forms of the text: the title, the description, or both. The wordings are our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gti_cli.prompts.chat import PLACEHOLDER, end_of_turn, split_prompt
from gti_cli.prompts.examples import Example
from gti_cli.prompts.text_as_data import encode_between, encode_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TO_TOKENS, TO_TEXT = "text->tokens", "tokens->text"
DIRECTIONS = (TO_TOKENS, TO_TEXT)
FORMS = ("title", "description", "both")
TEXT_FORM = "text"  # form of pairs that come from a table with the columns `text` and `tokens`

SYSTEM = "You know a catalogue in which every entry has a short run of code tokens as its name."

# One question for each direction and form; the text or the tokens take the place of the placeholder.
_QUESTIONS = {
    (TO_TOKENS, "title"): f"Give the code tokens of the entry with this title.\n{PLACEHOLDER}",
    (TO_TOKENS, "description"): f"Give the code tokens of the entry described here.\n{PLACEHOLDER}",
    (TO_TOKENS, "both"): f"Give the code tokens of the entry with this title and description.\n{PLACEHOLDER}",
    (TO_TOKENS, TEXT_FORM): f"Give the code tokens for this text.\n{PLACEHOLDER}",
    (TO_TEXT, "title"): f"What is the title of this entry?\n{PLACEHOLDER}",
    (TO_TEXT, "description"): f"How is this entry described?\n{PLACEHOLDER}",
    (TO_TEXT, "both"): f"What are the title and the description of this entry?\n{PLACEHOLDER}",
    (TO_TEXT, TEXT_FORM): f"Say in words what these code tokens stand for.\n{PLACEHOLDER}",
}


@dataclass(frozen=True)
class Templates:
    """Wordings of the questions for pairs.

    Attributes:
        system: Text of the system message.
        questions: (direction, form) -> the user's message, with `PLACEHOLDER` in it once.
    """

    system: str
    questions: Mapping[tuple[str, str], str]


DEFAULT_TEMPLATES = Templates(SYSTEM, _QUESTIONS)


@dataclass(frozen=True)
class Pair:
    """A text and the tokens that mean the same.

    Attributes:
        item: Row of the pair in its table; the forms of one item share it.
        form: One of `FORMS`, or `TEXT_FORM`.
        text: The text in words.
        tokens: The tokens, e.g. ``"<a_12><b_3>"``.
    """

    item: int
    form: str
    text: str
    tokens: str


def forms_of(title: str, description: str) -> list[tuple[str, str]]:
    """Return (form, text) for the texts that an item has; a form whose text is missing is left out."""
    forms = [("title", title)] if title else []
    forms += [("description", description)] if description else []
    if title and description and title != description:
        forms.append(("both", f"{title}\n{description}"))
    return forms


class CutTexts(NamedTuple):
    """Texts that are short enough for a prompt.

    Attributes:
        texts: The texts.
        cut: Number of texts that were cut.
        naming: Number of texts that hold the name of a token (see `gti_cli.prompts.text_as_data`).
    """

    texts: list[str]
    cut: int
    naming: int


def cut_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], most: int) -> CutTexts:
    """Cut each text to at most ``most`` of its own tokens."""
    encoded, naming = encode_texts(tokenizer, texts)
    kept, cut = [], 0
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) > most:
            # A cut may fall inside a character. The rest of that character decodes to the replacement character.
            kept.append(str(tokenizer.decode(ids[:most])).rstrip("\ufffd").strip())
            cut += 1
        else:
            kept.append(text)
    return CutTexts(kept, cut, naming)


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], direction: str, templates: Templates = DEFAULT_TEMPLATES
) -> list[Example]:
    """Tokenise pairs in one direction.

    The result equals `chat.encode_prompt` and `chat.encode_answer` on each pair whose text holds no name of a token,
    and a name in a text becomes no token. It is faster: the template is rendered once for each form, and all texts are
    tokenised in one call.

    Args:
        tokenizer: Tokenizer of the extended model.
        pairs: Pairs of any forms.
        direction: `TO_TOKENS` or `TO_TEXT`.
        templates: Wordings of the questions.
    """
    if not pairs:
        return []
    forms = {pair.form for pair in pairs}
    parts = {form: split_prompt(tokenizer, templates.system, templates.questions[direction, form]) for form in forms}
    given = [pair.text if direction == TO_TOKENS else pair.tokens for pair in pairs]
    prompt_ids = encode_between(
        tokenizer,
        given,
        [parts[pair.form] for pair in pairs],
        data=[direction == TO_TOKENS] * len(pairs),
        # A chat template writes the opening token itself. A plain prompt gets it from the tokenizer.
        add_special_tokens=tokenizer.chat_template is None,
    )
    if direction == TO_TOKENS:
        answer_ids = tokenizer([pair.tokens for pair in pairs], add_special_tokens=False)["input_ids"]
    else:
        answer_ids, _ = encode_texts(tokenizer, [pair.text for pair in pairs])
    end = end_of_turn(tokenizer)
    return [Example(p, [*a, end]) for p, a in zip(prompt_ids, answer_ids, strict=True)]
