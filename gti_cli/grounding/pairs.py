"""The pairs to ground with: read from a table, checked against semantic IDs and vocabulary, put into forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from gti_cli import tables
from gti_cli.errors import InputError, examples
from gti_cli.prompts.pairs import FORMS, TEXT_FORM, Pair, cut_texts, forms_of

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Texts:
    """Rows of a pairs table, as read.

    Attributes:
        texts: column name (`title`, `description`, or `text` alone) -> one string for each row, "" where missing.
        tokens: the tokens of each row. counts: rows, items, and what was missing.
    """

    texts: dict[str, list[str]]
    tokens: list[str]
    counts: dict[str, int]


def read_pairs(path: Path | str, catalogue: Mapping[str, str] | None, names: Sequence[str]) -> Texts:
    """Read a pairs table: `item_id` with `title` and / or `description`, or `text` with `tokens`.

    Args:
        path: the table; several rows may name one item. catalogue: item id -> its tokens (None: there are no semantic
            IDs). names: the checkpoint's new tokens.

    Raises:
        InputError: neither kind of columns; items without a semantic ID; tokens that are not new tokens; no text.
    """
    table = tables.read(path)
    columns = set(table.column_names)
    if {"text", "tokens"} <= columns and not ("item_id" in columns and columns & {"title", "description"}):
        return _free_pairs(table, path, names)
    if "item_id" not in columns or not columns & {"title", "description", "text"}:
        raise InputError(
            f"these columns make no pairs: {', '.join(table.column_names)}",
            where=str(path),
            remedy="give item_id with title and / or description, or text with tokens",
        )
    if catalogue is None:
        raise InputError(
            "pairs by item_id need the semantic IDs of the items",
            where=str(path),
            remedy="run 'gti build-ids' first, or give the columns text and tokens",
        )
    items = tables.ids(table, "item_id", path)
    unknown = sorted({item for item in items if item not in catalogue})
    if unknown:
        raise InputError(
            f"{len(unknown):,} items have no semantic ID: {examples(unknown)}",
            where=f"{path}, column 'item_id', row {items.index(unknown[0]) + 1:,}",
            remedy="build semantic IDs for all items, or drop these rows",
        )
    # The encoder's `text` is the last resort: it may hold brand and categories that have no form of their own.
    given = [name for name in ("title", "description") if name in columns] or ["text"]
    texts = {name: tables.strings(table, name, path) for name in given}
    missing = {f"rows_without_{name}": sum(not text for text in texts.get(name, [])) for name in given}
    return _checked(texts, [catalogue[item] for item in items], {"items": len(set(items)), **missing}, path)


def _free_pairs(table: pa.Table, path: Path | str, names: Sequence[str]) -> Texts:
    known = frozenset(names)
    longest = max(map(len, names))
    tokens = []
    for row, text in enumerate(tables.strings(table, "tokens", path), start=1):
        found = _parse(text, known, longest)
        if not found:
            raise InputError(
                f"{text!r} is no sequence of the checkpoint's new tokens" if text else "the tokens are missing",
                where=f"{path}, column 'tokens', row {row:,}",
                remedy=f"write new tokens one after the other, such as {examples(list(names), 2)}",
            )
        tokens.append("".join(found))
    return _checked({"text": tables.strings(table, "text", path)}, tokens, {"items": len(set(tokens))}, path)


def _parse(text: str, known: frozenset[str], longest: int) -> list[str]:
    """Split into known tokens, the longest first at each place, white space between them ignored; [] if it is none."""
    found: list[str] = []
    rest = text.strip()
    while rest:
        size = next((n for n in range(min(longest, len(rest)), 0, -1) if rest[:n] in known), 0)
        if not size:
            return []
        found.append(rest[:size])
        rest = rest[size:].lstrip()
    return found


def _checked(texts: dict[str, list[str]], tokens: list[str], counts: dict[str, int], path: Path | str) -> Texts:
    empty = sum(not any(row) for row in zip(*texts.values(), strict=True))
    if empty == len(tokens):
        raise InputError(
            f"no row has a text in {', '.join(texts)}", where=str(path), remedy="give at least one text to learn from"
        )
    return Texts(texts, tokens, {"rows": len(tokens), "rows_without_text": empty, **counts})


def make_pairs(
    texts: Texts, tokenizer: PreTrainedTokenizerBase, max_text_tokens: int
) -> tuple[list[Pair], dict[str, int]]:
    """Put rows into forms; texts longer than ``max_text_tokens`` are cut.

    Returns:
        the pairs, and counts: of the table, of pairs by form, of texts cut.
    """
    counts = dict(texts.counts)
    columns: dict[str, list[str]] = {}
    counts["texts_cut"] = 0
    for name, values in texts.texts.items():
        columns[name], cut = cut_texts(tokenizer, values, max_text_tokens)
        counts["texts_cut"] += cut
    pairs: list[Pair] = []
    for row, tokens in enumerate(texts.tokens):
        if "text" in columns:
            found = [(TEXT_FORM, columns["text"][row])] if columns["text"][row] else []
        else:
            title, description = (columns[name][row] if name in columns else "" for name in ("title", "description"))
            found = forms_of(title, description)
        pairs += [Pair(row, form, text, tokens) for form, text in found]
    of = Counter(pair.form for pair in pairs)
    counts |= {f"pairs_{form}": of[form] for form in (*FORMS, TEXT_FORM) if of[form]}
    return pairs, counts


class _OfItem(Protocol):
    @property
    def item(self) -> int:
        """What it belongs to."""
        ...


P = TypeVar("P", bound=_OfItem)


def hold_out(pairs: Sequence[P], share: float, seed: int) -> tuple[list[P], list[P]]:
    """Split into training pairs and held-out ones: ``share`` of all pairs, at least one where there are two or more.

    What is held out is a form of an item (in both directions), so its other forms are usually trained on. An item
    with a single pair keeps it: nothing else would ever say what its tokens mean.
    """
    import numpy as np

    if share <= 0:
        return list(pairs), []
    per_item = Counter(pair.item for pair in pairs)
    open_ = [n for n, pair in enumerate(pairs) if per_item[pair.item] > 1]
    if not open_:  # one form each: then whole items are all that can be held out
        open_ = list(range(len(pairs)))
    wanted = min(max(round(share * len(pairs)), 1), len(pairs) - 1)
    chosen: set[int] = set()
    left = dict(per_item)
    for n in np.random.default_rng(seed).permutation(open_).tolist():
        if len(chosen) == wanted:
            break
        if left[pairs[n].item] > 1 or per_item[pairs[n].item] == 1:
            chosen.add(n)
            left[pairs[n].item] -= 1
    return [p for n, p in enumerate(pairs) if n not in chosen], [pairs[n] for n in sorted(chosen)]
