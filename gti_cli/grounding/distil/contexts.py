"""Contexts in which a new token stands for its phrase: given with the pairs, written here, or sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.grounding.pairs import read_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gti_cli.grounding.distil.old_tokenization import OldTokenization

PLACE = "{}"  # where phrase or token go
GIVEN, TEMPLATE, SAMPLED = "given", "template", "sampled"

# Bare sentences that fit a thing, a person, a doing or a quality; what follows the place is where a reader uses it.
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
    """Rows of a pairs table of text and tokens.

    Attributes:
        texts: the phrase of each row. tokens: the new tokens that stand for it. contexts: around it, "" where the row
            has none. counts: rows, different tokens, rows without a phrase (left out), rows with a context.
    """

    texts: list[str]
    tokens: list[str]
    contexts: list[str]
    counts: dict[str, int]


@dataclass(frozen=True)
class Use:
    """A phrase, or the tokens that stand for it, in a context.

    Attributes:
        item: number of the tokens (all uses of the same tokens share it). text, tokens: as in the table.
        before, behind: what stands around them. source: `GIVEN`, `TEMPLATE` or `SAMPLED`.
    """

    item: int
    text: str
    tokens: str
    before: str
    behind: str
    source: str

    @property
    def with_phrase(self) -> str:
        """As the frozen model reads it in the old tokenization."""
        return self.before + self.text + self.behind

    @property
    def with_tokens(self) -> str:
        """As it reads with the new tokens."""
        return self.before + self.tokens + self.behind


def read_phrases(path: Path | str, names: Sequence[str]) -> Phrases:
    """Read a table of `text`, `tokens` and, optionally, `context`: a text with ``{}`` where phrase or tokens go.

    Raises:
        InputError: other columns; tokens that are not new tokens; a context without exactly one ``{}``; no phrase.
    """
    columns = tables.read(path).column_names
    if not {"text", "tokens"} <= set(columns):
        raise InputError(
            f"distillation needs the columns text (a phrase) and tokens, not {', '.join(columns)}",
            where=str(path),
            remedy="give such a table, or use --objective nll",
        )
    read = read_pairs(path, None, names)
    contexts = [""] * len(read.tokens)
    if "context" in columns:
        contexts = tables.strings(tables.read(path), "context", path)
    for row, context in enumerate(contexts, start=1):
        if context and context.count(PLACE) != 1:
            raise InputError(
                f"the context must hold {PLACE} once: {context[:60]!r}",
                where=f"{path}, column 'context', row {row:,}",
                remedy=f"write {PLACE} where the phrase stands",
            )
    kept = [n for n, text in enumerate(read.texts["text"]) if text]
    counts = {**read.counts, "rows_with_context": sum(bool(contexts[n]) for n in kept)}
    return Phrases(
        [read.texts["text"][n] for n in kept],
        [read.tokens[n] for n in kept],
        [contexts[n] for n in kept],
        {name: value for name, value in counts.items() if name != "items"},
    )


def uses_of(phrases: Phrases, sampled: Mapping[tuple[str, str], Sequence[tuple[str, str]]]) -> list[Use]:
    """Put every phrase into its contexts: the row's own or, where it has none, each of `NEUTRAL`; and the sampled ones.

    Args:
        sampled: (text, tokens) -> (before, behind) of sampled snippets.
    """
    number = {tokens: n for n, tokens in enumerate(dict.fromkeys(phrases.tokens))}
    found: dict[Use, None] = {}  # the same phrase in the same context counts once
    for text, tokens, context in zip(phrases.texts, phrases.tokens, phrases.contexts, strict=True):
        source = GIVEN if context else TEMPLATE
        for words in (context,) if context else NEUTRAL:
            before, _, behind = words.partition(PLACE)
            found[Use(number[tokens], text, tokens, before, behind, source)] = None
        for before, behind in sampled.get((text, tokens), ()):
            found[Use(number[tokens], text, tokens, before, behind, SAMPLED)] = None
    return list(found)


def cut_phrases(
    phrases: Phrases, old: OldTokenization, tokenizer: PreTrainedTokenizerBase, most: int
) -> tuple[Phrases, dict[str, int]]:
    """Cut phrases, and what stands before and behind them in their contexts, to ``most`` old tokens each.

    Returns:
        the phrases, and their counts with ``texts_cut`` and ``contexts_cut``.
    """

    def cut(texts: Sequence[str], last: bool) -> list[str]:
        """Each text's first, or ``last``, old tokens."""
        ids = old.encode(texts)
        # A cut may fall inside a character; what is left of it decodes to the replacement character.
        return [
            str(tokenizer.decode(found[-most:] if last else found[:most])).strip("\ufffd")
            if len(found) > most
            else text
            for text, found in zip(texts, ids, strict=True)
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
    """How many contexts came from where."""
    of = Counter(use.source for use in uses)
    return {f"contexts_{source}": of[source] for source in (GIVEN, TEMPLATE, SAMPLED)}
