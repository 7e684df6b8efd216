"""Phrases and the contexts around them: given in the table, from neutral templates, or sampled from the model.

Comes after `ground`, which finds the table. `distil.batches` tokenises the uses made here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.errors import InputError, list_names
from gti_cli.grounding.read_pairs import read_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gti_cli.grounding.distil.old_tokenization import OldTokenization

PLACE = "{}"  # stands in a context for the phrase or its tokens
GIVEN, TEMPLATE, SAMPLED = "given", "template", "sampled"

# Sentences that fit a thing, a person, an activity or a quality. The text after the place makes the model use what it
# has read there, so the hidden states that are compared depend on the phrase.
NEUTRAL = (
    "{} is what the next page is about.",
    "Let us talk about {} for a while.",
    "What does {} mean? In short, it means the following.",
    "I read about {} yesterday and told a friend of mine.",
    "The word for it is {}, as everybody here knows.",
    "Tell me more about {}. Where does it come from, and what is it good for?",
    "A short text on {}, for people who have never heard of it.",
    "Compared with everything else on the list, {} is special.",
    "They wrote {} on the first line and went on with the rest.",
    "When people hear {}, they think of something that they know.",
    "First came {}, then something else, and in the end nothing.",
    "Question: what is {}? Answer: let me explain.",
)


@dataclass(frozen=True)
class Phrases:
    """The N rows of a table of phrases and tokens.

    Attributes:
        texts: (N) phrases.
        tokens: (N) the new tokens that stand for each phrase.
        contexts: (N) texts with one `PLACE`, "" where a row has none.
        counts: Numbers of rows, of rows without a phrase (which are left out), and of rows with a context.
    """

    texts: list[str]
    tokens: list[str]
    contexts: list[str]
    counts: dict[str, int]


@dataclass(frozen=True)
class Use:
    """A phrase, or the tokens that stand for it, in one context.

    Attributes:
        item: Number of the tokens; all uses of the same tokens share it.
        text: The phrase.
        tokens: The tokens.
        before: Text before the phrase.
        behind: Text after the phrase.
        source: Where the context is from: `GIVEN`, `TEMPLATE` or `SAMPLED`.
    """

    item: int
    text: str
    tokens: str
    before: str
    behind: str
    source: str

    @property
    def with_phrase(self) -> str:
        """The context with the phrase, which the frozen model reads in the old tokenization."""
        return self.before + self.text + self.behind

    @property
    def with_tokens(self) -> str:
        """The context with the new tokens."""
        return self.before + self.tokens + self.behind


@tables.in_terms_of_the_file
def read_phrases(path: Path | str, names: Sequence[str]) -> Phrases:
    """Read a table of `text` (a phrase), `tokens` and, optionally, `context`.

    Args:
        path: The table. A context is a text with one ``{}`` in the place of the phrase.
        names: The checkpoint's new tokens.

    Returns:
        The rows that have a phrase.

    Raises:
        InputError: When the table has other columns, tokens are not new tokens, a context does not have exactly one
            ``{}``, or no row has a phrase.
    """
    columns = tables.read(path).column_names
    if not {"text", "tokens"} <= set(columns):
        raise InputError(
            f"distillation needs the columns text (a phrase) and tokens, not {list_names(columns)}",
            where=str(path),
            remedy="give such a table, or use --objective nll",
        )
    pairs = read_pairs(path, None, names)
    contexts = [""] * len(pairs.tokens)
    if "context" in columns:
        contexts = tables.strings(tables.read(path), "context", path)
    for row, context in enumerate(contexts, start=1):
        if context and context.count(PLACE) != 1:
            raise InputError(
                f"the context must hold {PLACE} once: {context[:60]!r}",
                where=f"{path}, column 'context', row {row:,}",
                remedy=f"write {PLACE} where the phrase stands",
            )
    with_text = [n for n, text in enumerate(pairs.texts["text"]) if text]
    counts = {**pairs.counts, "rows_with_context": sum(bool(contexts[n]) for n in with_text)}
    return Phrases(
        [pairs.texts["text"][n] for n in with_text],
        [pairs.tokens[n] for n in with_text],
        [contexts[n] for n in with_text],
        {name: value for name, value in counts.items() if name != "items"},
    )


def uses_of(phrases: Phrases, sampled: Mapping[tuple[str, str], Sequence[tuple[str, str]]]) -> list[Use]:
    """Put every phrase into its contexts.

    These are the row's own context or, where it has none, each of `NEUTRAL`; and the sampled contexts.

    Args:
        phrases: The phrases.
        sampled: (text, tokens) -> sampled contexts, each as (before, behind).

    Returns:
        The different uses, in the order of rows.
    """
    number = {tokens: n for n, tokens in enumerate(dict.fromkeys(phrases.tokens))}
    uses: dict[Use, None] = {}  # an ordered set: the same phrase in the same context counts once
    for text, tokens, context in zip(phrases.texts, phrases.tokens, phrases.contexts, strict=True):
        source = GIVEN if context else TEMPLATE
        for words in (context,) if context else NEUTRAL:
            before, _, behind = words.partition(PLACE)
            uses[Use(number[tokens], text, tokens, before, behind, source)] = None
        for before, behind in sampled.get((text, tokens), ()):
            uses[Use(number[tokens], text, tokens, before, behind, SAMPLED)] = None
    return list(uses)


def cut_phrases(
    phrases: Phrases, old: OldTokenization, tokenizer: PreTrainedTokenizerBase, most: int
) -> tuple[Phrases, dict[str, int]]:
    """Cut long phrases, and the long text before and after them; of a context, the part nearest the phrase stays.

    Args:
        phrases: The phrases with their contexts.
        old: Splits texts into old tokens.
        tokenizer: Decodes them.
        most: Most old tokens of a phrase, of the text before it, and of the text after it.

    Returns:
        The phrases; and their counts, with ``texts_cut`` and ``contexts_cut``.
    """

    def cut(texts: Sequence[str], last: bool) -> list[str]:
        """The first old tokens of each text; the last ones if ``last``."""
        # A cut may fall inside a character. The remaining bytes decode to the replacement character, which is removed.
        return [
            str(tokenizer.decode(ids[-most:] if last else ids[:most])).strip("\ufffd") if len(ids) > most else text
            for text, ids in zip(texts, old.encode(texts), strict=True)
        ]

    texts = cut(phrases.texts, False)
    parts = [context.partition(PLACE) for context in phrases.contexts]
    before, behind = cut([part[0] for part in parts], True), cut([part[2] for part in parts], False)
    contexts = [b + part[1] + a for b, part, a in zip(before, parts, behind, strict=True)]
    counts = {
        **phrases.counts,
        "texts_cut": sum(a != b for a, b in zip(texts, phrases.texts, strict=True)),
        "contexts_cut": sum(a != b for a, b in zip(contexts, phrases.contexts, strict=True)),
    }
    return Phrases(texts, phrases.tokens, contexts, counts), counts


def count_uses(uses: Sequence[Use]) -> dict[str, int]:
    """Numbers of uses by the source of their contexts."""
    per_source = Counter(use.source for use in uses)
    return {f"contexts_{source}": per_source[source] for source in (GIVEN, TEMPLATE, SAMPLED)}
