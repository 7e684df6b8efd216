"""What new tokens do to ordinary text: which old words they stand in, and which of these are tokenised otherwise.

A tokenizer looks for added tokens before it splits a text, inside words too: a new token ``moth`` cuts ``mother`` in
two. Only names that are words themselves can do so. The names of semantic IDs (``<a_12>``) stand in no word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.errors import list_some
from gti_cli.tables.words import writes_no_spaces
from gti_cli.vocabulary.tokens_to_add import TokensToAdd

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gti_cli.workspace import StageRun

SHOWN = 10  # old words that are listed
_ANCHOR = "a"  # stands before a token, so that it is decoded as inside a text


def token_texts(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Return the text of each old token as it stands inside a text, a space before it included.

    Tokens without a text of their own (special tokens, parts of a character) are left out.
    """
    ids = sorted(set(tokenizer.get_vocab().values()))
    anchor = tokenizer.encode(_ANCHOR, add_special_tokens=False)
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    rows = [[*anchor, number] for number in ids]
    if hasattr(backend, "decode_batch"):
        before, texts = backend.decode(anchor), backend.decode_batch(rows)
    else:
        before = str(tokenizer.decode(anchor, skip_special_tokens=True))
        texts = [str(tokenizer.decode(row, skip_special_tokens=True)) for row in rows]
    own = {number: text.removeprefix(before) for number, text in zip(ids, texts, strict=True)}
    return {number: text for number, text in own.items() if text and "\ufffd" not in text}


def names_inside(text: str, names: Collection[str], sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Find the names of new tokens in a text.

    Args:
        text: The text.
        names: The names, as a set.
        sizes: The different lengths of the names.

    Yields:
        Begin and end of each name in the text.
    """
    for size in sizes:
        for begin in range(len(text) - size + 1):
            if text[begin : begin + size] in names:
                yield begin, begin + size


def split_old_words(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> set[str]:
    """Return the names that would cut old words in two, where the tokenizer can be told to match whole words only.

    It can for names that begin and end with a letter or digit, in a script that separates words by spaces.

    Args:
        tokenizer: The tokenizer before the new tokens are added.
        names: Names of the new tokens.
    """
    words = {name for name in names if _is_word(name[0]) and _is_word(name[-1]) and not writes_no_spaces(name)}
    if not words:
        return set()
    sizes = sorted({len(name) for name in words})
    return {
        text[begin:end]
        for text in token_texts(tokenizer).values()
        for begin, end in names_inside(text, words, sizes)
        if _is_word(text[max(begin - 1, 0) : begin]) or _is_word(text[end : end + 1])
    }


def _is_word(character: str) -> bool:
    """Whether a tokenizer takes a character for part of a word; no character is none."""
    return character.isalnum() or character == "_"


@dataclass(frozen=True)
class OldWords:
    """Old words with the name of a new token in them, and their tokens before it was added.

    Attributes:
        texts: The words, with a line break before each, so that they begin as inside a text.
        ids: The token ids of each text.
        names: Names of the new tokens.
    """

    texts: list[str] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @classmethod
    def before(cls, tokenizer: PreTrainedTokenizerBase, tokens: TokensToAdd) -> OldWords:
        """Collect the words: tokens of the tokenizer, and words of the new tokens' descriptions.

        Args:
            tokenizer: The tokenizer before the new tokens are added.
            tokens: The new tokens.
        """
        names = set(tokens.names)
        sizes = sorted({len(name) for name in names})
        described = (word for text in tokens.descriptions for word in text.split())
        # In a description the new word itself is no old word.
        others = (f" {word}" for word in described if not _is_a_name(word, names))
        words: Iterable[str] = dict.fromkeys([*token_texts(tokenizer).values(), *others])
        texts = [f"\n{word}" for word in words if next(names_inside(word, names, sizes), None)]
        return cls(texts, _encode(tokenizer, texts), list(tokens.names))

    def report_changed(self, tokenizer: PreTrainedTokenizerBase, run: StageRun) -> None:
        """Count and list the words that are tokenised otherwise now.

        Args:
            tokenizer: The tokenizer with the new tokens.
            run: Receives the count ``old_words_changed``, some of the words under the same name, and the count
                ``found_inside_words`` of new tokens that are also found inside longer words.
        """
        after = _encode(tokenizer, self.texts)
        changed = [text[1:] for text, old, new in zip(self.texts, self.ids, after, strict=True) if old != new]
        run.counts["old_words_changed"] = len(changed)
        run.details["old_words_changed"] = changed[:SHOWN]
        if changed:
            words = "old word has" if len(changed) == 1 else "old words have"
            console.warn(
                f"{len(changed):,} {words} a new token inside and tokenise otherwise now: {list_some(changed, SHOWN)}. "
                "Old text stays as it was where the new token is in brackets, as in <word>"
            )
        whole = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.single_word}
        inside = [name for name in self.names if name not in whole and _is_word(name[0]) and _is_word(name[-1])]
        run.counts["found_inside_words"] = len(inside)
        if inside:
            # Words of the vocabulary were looked at above. Words that the model writes in several tokens have no list.
            console.note(
                f"{len(inside):,} new tokens are found inside longer words, too ({list_some(inside)}): a word that the "
                f"model writes in several tokens changes where it holds one, for example '{inside[0]}s'"
            )


def _is_a_name(word: str, names: Collection[str]) -> bool:
    """Whether a word of a text is a new token, with punctuation around it or without."""
    begin, end = 0, len(word)
    while begin < end and not _is_word(word[begin]):
        begin += 1
    while end > begin and not _is_word(word[end - 1]):
        end -= 1
    return word in names or word[begin:end] in names


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return [list(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []
