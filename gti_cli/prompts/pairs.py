"""Text and tokens that name the same item, as chat turns in both directions: text -> tokens, tokens -> text.

Each direction comes in three forms: by the title, by the description, by both. The wordings are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gti_cli.prompts.chat import encode_answer, end_of_turn, render_prompt
from gti_cli.prompts.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TO_TOKENS, TO_TEXT = "text->tokens", "tokens->text"
DIRECTIONS = (TO_TOKENS, TO_TEXT)
FORMS = ("title", "description", "both")
TEXT_FORM = "text"  # of pairs that say `text` and `tokens` themselves

SYSTEM = "You know a catalogue in which every entry has a short run of code tokens as its name."
MARK = "\ue000gti\ue000"  # private use: stands where the text goes while a template is taken apart

# One question for each direction and form; the mark is the place of the text or of the tokens.
_QUESTIONS = {
    (TO_TOKENS, "title"): f"Give the code tokens of the entry with this title.\n{MARK}",
    (TO_TOKENS, "description"): f"Give the code tokens of the entry described here.\n{MARK}",
    (TO_TOKENS, "both"): f"Give the code tokens of the entry with this title and description.\n{MARK}",
    (TO_TOKENS, TEXT_FORM): f"Give the code tokens for this text.\n{MARK}",
    (TO_TEXT, "title"): f"What is the title of this entry?\n{MARK}",
    (TO_TEXT, "description"): f"How is this entry described?\n{MARK}",
    (TO_TEXT, "both"): f"What are the title and the description of this entry?\n{MARK}",
    (TO_TEXT, TEXT_FORM): f"Say in words what these code tokens stand for.\n{MARK}",
}


@dataclass(frozen=True)
class Templates:
    """What pairs are asked with.

    Attributes:
        system: the system message. questions: (direction, form) -> the user's message, with `MARK` in it once.
    """

    system: str
    questions: Mapping[tuple[str, str], str]


OURS = Templates(SYSTEM, _QUESTIONS)


@dataclass(frozen=True)
class Pair:
    """A text and the tokens that mean the same.

    Attributes:
        item: what the pair belongs to (a row of its table); forms of one item share it.
        form: one of `FORMS`, or `TEXT_FORM`. text: in words. tokens: e.g. ``"<a_12><b_3>"``.
    """

    item: int
    form: str
    text: str
    tokens: str


def forms_of(title: str, description: str) -> list[tuple[str, str]]:
    """(form, text) for what an item has; a form whose text is missing is left out."""
    found = [("title", title)] if title else []
    found += [("description", description)] if description else []
    if title and description and title != description:
        found.append(("both", f"{title}\n{description}"))
    return found


def cut_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], most: int) -> tuple[list[str], int]:
    """Cut each text to at most ``most`` of its own tokens; returns the texts and how many were cut."""
    if not texts:
        return [], 0
    encoded = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    kept, cut = [], 0
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) > most:
            # A cut may fall inside a character; what is left of it decodes to the replacement character.
            kept.append(str(tokenizer.decode(ids[:most])).rstrip("\ufffd").strip())
            cut += 1
        else:
            kept.append(text)
    return kept, cut


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], direction: str, templates: Templates = OURS
) -> list[Example]:
    """Tokenise pairs in one direction (`TO_TOKENS` or `TO_TEXT`).

    Equal to `chat.encode_prompt` and `chat.encode_answer` on each pair, but the template is rendered once for each
    form and the texts are tokenised together.
    """
    if not pairs:
        return []
    frames = {form: _frame(tokenizer, templates, direction, form) for form in {pair.form for pair in pairs}}
    asked = [pair.text if direction == TO_TOKENS else pair.tokens for pair in pairs]
    prompts = [text.join(frames[pair.form]) for pair, text in zip(pairs, asked, strict=True)]
    # A chat template writes its own opening token; a plain prompt needs the tokenizer's.
    plain = tokenizer.chat_template is None
    prompt_ids = tokenizer(prompts, add_special_tokens=plain)["input_ids"]
    answers = [pair.tokens if direction == TO_TOKENS else pair.text for pair in pairs]
    answer_ids = tokenizer(answers, add_special_tokens=False)["input_ids"]
    end = end_of_turn(tokenizer)
    return [Example(list(p), [*a, end]) for p, a in zip(prompt_ids, answer_ids, strict=True)]


def encode_pair(tokenizer: PreTrainedTokenizerBase, pair: Pair, direction: str, templates: Templates = OURS) -> Example:
    """Tokenise one pair, the plain way."""
    from gti_cli.prompts.chat import encode_prompt

    asked, answer = (pair.text, pair.tokens) if direction == TO_TOKENS else (pair.tokens, pair.text)
    question = templates.questions[direction, pair.form].replace(MARK, asked)
    return Example(encode_prompt(tokenizer, templates.system, question), encode_answer(tokenizer, answer))


def _frame(tokenizer: PreTrainedTokenizerBase, templates: Templates, direction: str, form: str) -> tuple[str, str]:
    question = templates.questions[direction, form]
    before, mark, behind = render_prompt(tokenizer, templates.system, question).partition(MARK)
    if not mark:
        raise ValueError("the chat template does not repeat the user's message")
    return before, behind
