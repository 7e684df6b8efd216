"""The pairs to ground with: their table is read and checked, and each row becomes a pair for each form of its text.

A form is what the text consists of: the title, the description, or both.

Comes after `ground`, which finds the table. `nll.build_corpus` tokenises the pairs made here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gti_cli import console, tables
from gti_cli.errors import InputError, list_names, list_some
from gti_cli.prompts.pair_prompts import FORMS, TEXT_FORM, Pair, cut_texts, forms_of
from gti_cli.prompts.text_as_data import note_naming
from gti_cli.tables.columns import name_unread
from gti_cli.tables.near_misses import near_miss

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

    from gti_cli.workspace import StageRun


# Columns of an items table, which is often given as the table of pairs: nobody is surprised that no pair has them.
_ITEM_COLUMNS = ("text", "brand", "categories", "embedding")


class _WithTokens(Protocol):
    """A pair of a text and tokens, or a use of a phrase."""

    @property
    def tokens(self) -> str:
        """The new tokens, one after the other."""
        ...


@dataclass(frozen=True)
class PairsTable:
    """The N rows of a table of pairs, as read.

    Attributes:
        texts: Column name (`title`, `description`, or `text` alone) -> (N) strings, "" where a text is missing.
        tokens: (N) the new tokens of each row, as one string.
        counts: Numbers of rows, of items or different tokens, and of missing texts.
    """

    texts: dict[str, list[str]]
    tokens: list[str]
    counts: dict[str, int]


@tables.in_terms_of_the_file
def read_pairs(
    path: Path | str,
    tokens_of_item: Mapping[str, str] | None,
    names: Sequence[str],
    only: Collection[str] | None = None,
) -> PairsTable:
    """Read a table of pairs: `item_id` with `title` and / or `description`, or `text` with `tokens`.

    Args:
        path: The table. Several rows may name the same item.
        tokens_of_item: Item id -> the tokens of its semantic ID (None: there are no semantic IDs).
        names: The checkpoint's new tokens.
        only: Item ids whose rows are taken, of a table with ``item_id`` (None: all).

    Returns:
        The rows, with their tokens.

    Raises:
        InputError: When the table has neither kind of columns, an item has no semantic ID, tokens are not new tokens
            of the checkpoint, or no row has a text.
    """
    table = tables.read(path)
    if only is not None:
        table = table.take([row for row, item in enumerate(tables.ids(table, "item_id", path)) if item in only])
    columns = set(table.column_names)
    if {"text", "tokens"} <= columns and not ("item_id" in columns and columns & {"title", "description"}):
        return _read_text_and_tokens(table, path, names)
    if "item_id" not in columns or not columns & {"title", "description", "text"}:
        raise InputError(
            f"no pairs can be made from the columns {list_names(table.column_names)}",
            where=str(path),
            remedy="give item_id with title and / or description, or text with tokens",
        )
    if tokens_of_item is None:
        raise InputError(
            "pairs by item_id need the semantic IDs of the items",
            where=str(path),
            remedy="run 'gti build-ids' first, or give the columns text and tokens",
        )
    items = tables.ids(table, "item_id", path)
    unknown = sorted({item for item in items if item not in tokens_of_item})
    if unknown:
        miss = near_miss(unknown, tokens_of_item)
        raise InputError(
            f"{len(unknown):,} items have no semantic ID: {list_some(unknown)}{miss.problem if miss else ''}",
            where=f"{path}, column 'item_id', row {items.index(unknown[0]) + 1:,}",
            remedy=miss.remedy if miss else "build semantic IDs for all items, or drop these rows",
        )
    # `text` is what `gti build-ids` encodes. It may hold brand and categories, which no form of a prompt names, so it
    # is used only where there is neither title nor description.
    used = [name for name in ("title", "description") if name in columns] or ["text"]
    if "same_as" not in columns:  # else it is the workspace's own table of items, which nobody gave
        name_unread(table, ("item_id", *used, *_ITEM_COLUMNS), path)
    texts = {name: tables.strings(table, name, path) for name in used}
    missing = {f"rows_without_{name}": sum(not text for text in texts.get(name, [])) for name in used}
    return _with_counts(texts, [tokens_of_item[item] for item in items], {"items": len(set(items)), **missing}, path)


def _read_text_and_tokens(table: pa.Table, path: Path | str, names: Sequence[str]) -> PairsTable:
    name_unread(table, ("text", "tokens", "context"), path)
    known_tokens = frozenset(names)
    longest = max(map(len, names))
    tokens = []
    for row, text in enumerate(tables.strings(table, "tokens", path, strip=False), start=1):
        split = split_into_tokens(text, known_tokens, longest)
        if not split:
            raise InputError(
                f"{text!r} is not a sequence of the checkpoint's new tokens"
                if text.strip()
                else "the tokens are missing",
                where=f"{path}, column 'tokens', row {row:,}",
                remedy=f"write new tokens one after the other, such as {list_some(list(names), 2)}",
            )
        tokens.append("".join(split))
    return _with_counts({"text": tables.strings(table, "text", path)}, tokens, {"items": len(set(tokens))}, path)


def split_into_tokens(text: str, known_tokens: Collection[str], longest: int) -> list[str]:
    """Split a text into tokens.

    Args:
        text: Tokens one after the other. White space between them that belongs to no token is ignored.
        known_tokens: The tokens, as a set.
        longest: The length of the longest token.

    Returns:
        At each place the longest token that fits; [] if the text holds anything else.
    """
    tokens: list[str] = []
    place = 0
    while place < len(text):
        sizes = range(min(longest, len(text) - place), 0, -1)
        size = next((size for size in sizes if text[place : place + size] in known_tokens), 0)
        if size:
            tokens.append(text[place : place + size])
        elif not text[place].isspace():
            return []
        place += size or 1
    return tokens


def tokens_of_pairs(pairs: Sequence[_WithTokens], names: Sequence[str]) -> list[frozenset[str]]:
    """Return for each pair the new tokens in it.

    Args:
        pairs: Pairs, or uses of a phrase.
        names: The new tokens.
    """
    known_tokens, longest = frozenset(names), max(map(len, names))
    texts = dict.fromkeys(pair.tokens for pair in pairs)
    tokens = {text: frozenset(split_into_tokens(text, known_tokens, longest)) for text in texts}
    return [tokens[pair.tokens] for pair in pairs]


def count_untaught(run: StageRun, names: Sequence[str], taught: Collection[str]) -> None:
    """Count the new tokens that no pair names, and say how many they are: nothing trains their rows.

    Args:
        run: Receives the count ``tokens_without_pair``.
        names: The new tokens.
        taught: The new tokens of all pairs.
    """
    untaught = [name for name in names if name not in taught]
    run.counts["tokens_without_pair"] = len(untaught)
    if untaught:
        console.note(
            f"{len(untaught):,} of {len(names):,} new tokens stand in no pair, so nothing teaches them: "
            f"{list_some(untaught)}"
        )


def keep_apart(
    pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, names: Sequence[str]
) -> tuple[list[Pair], int]:
    """Put spaces between the tokens of pairs where the tokenizer would not find them otherwise.

    Tokens that `gti extend` made whole words (``moth``) are not found in ``mothzorp``, but in ``moth zorp``.

    Args:
        pairs: The pairs.
        tokenizer: The checkpoint's tokenizer.
        names: The new tokens.

    Returns:
        The pairs, and the number of those that were changed.
    """
    if not any(name[0].isalnum() and name[-1].isalnum() for name in names):
        return list(pairs), 0  # no whole words among them
    known_tokens, longest = frozenset(names), max(map(len, names))
    written: dict[str, str] = {}
    for text in dict.fromkeys(pair.tokens for pair in pairs):
        tokens = split_into_tokens(text, known_tokens, longest)
        found = tokenizer.encode(text, add_special_tokens=False)
        if len(tokens) > 1 and found != tokenizer.convert_tokens_to_ids(tokens):
            written[text] = " ".join(tokens)
    apart = [replace(pair, tokens=written.get(pair.tokens, pair.tokens)) for pair in pairs]
    return apart, sum(pair.tokens in written for pair in pairs)


def _with_counts(
    texts: dict[str, list[str]], tokens: list[str], counts: dict[str, int], path: Path | str
) -> PairsTable:
    empty = sum(not any(row) for row in zip(*texts.values(), strict=True))
    if empty == len(tokens):
        raise InputError(
            f"no row has a text in {', '.join(texts)}", where=str(path), remedy="give at least one text to learn from"
        )
    return PairsTable(texts, tokens, {"rows": len(tokens), "rows_without_text": empty, **counts})


def make_pairs(
    table: PairsTable, tokenizer: PreTrainedTokenizerBase, max_text_tokens: int
) -> tuple[list[Pair], dict[str, int]]:
    """Make the pairs of each row of a table, one for each form of its text, and cut long texts.

    Args:
        table: The rows.
        tokenizer: Counts the tokens of texts.
        max_text_tokens: Number of tokens to which longer texts are cut.

    Returns:
        The pairs, in the order of rows; and counts: those of the table, of pairs by form,
        of texts that were cut, and of texts that hold the name of a token.
    """
    counts = dict(table.counts)
    columns: dict[str, list[str]] = {}
    counts |= {"texts_cut": 0, "texts_naming_tokens": 0}
    for name, values in table.texts.items():
        columns[name], cut, naming = cut_texts(tokenizer, values, max_text_tokens)
        counts["texts_cut"] += cut
        counts["texts_naming_tokens"] += naming
    note_naming(counts["texts_naming_tokens"], sum(map(len, table.texts.values())))
    pairs: list[Pair] = []
    for row, tokens in enumerate(table.tokens):
        if "text" in columns:
            forms = [(TEXT_FORM, columns["text"][row])] if columns["text"][row] else []
        else:
            title, description = (columns[name][row] if name in columns else "" for name in ("title", "description"))
            forms = forms_of(title, description)
        pairs += [Pair(row, form, text, tokens) for form, text in forms]
    per_form = Counter(pair.form for pair in pairs)
    counts |= {f"pairs_{form}": per_form[form] for form in (*FORMS, TEXT_FORM) if per_form[form]}
    return pairs, counts
