"""LC-Rec's auxiliary tasks over a catalogue and its users, as conversations: the paper's baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gti_cli import console
from gti_cli.prompts import lc_rec
from gti_cli.prompts.conversations import Conversation
from gti_cli.prompts.next_item import cut_history
from gti_cli.prompts.pairs import DIRECTIONS, cut_texts, forms_of
from gti_cli.recommendation.material import INTENT, PREFERENCE, Material
from gti_cli.tables.histories import History

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Shop:
    """What the questions are made of.

    Attributes:
        row_of: item id -> row of the catalogue. tokens, titles, descriptions: by row, texts already cut.
        history: most items before a target.
    """

    row_of: Mapping[str, int]
    tokens: Sequence[str]
    titles: Sequence[str]
    descriptions: Sequence[str]
    history: int

    def name(self, row: int) -> str:
        """An item in words: its title, or else its description."""
        return self.titles[row] or self.descriptions[row]

    def histories(self, items: Sequence[str], target: str) -> list[Conversation]:
        """A history in words -> target, a history of tokens -> target in words; what has no words is left out."""
        shown = [self.row_of[item] for item in cut_history(items, self.history)[0]]
        wanted = self.row_of[target]
        titles = [self.name(row) for row in shown if self.name(row)]
        found = [lc_rec.titles_to_item(titles, self.tokens[wanted])] if titles else []
        if self.name(wanted):
            found.append(lc_rec.items_to_title([self.tokens[row] for row in shown], self.name(wanted)))
        return found


def conversations(
    material: Material, tokenizer: PreTrainedTokenizerBase, *, history: int, max_text_tokens: int, seed: int
) -> tuple[list[Conversation], dict[str, int]]:
    """All training examples of the tasks, in the order of `lc_rec.KINDS`, and their counts.

    Each item in every form of its text and in both directions; of each user one target of the two history tasks,
    drawn with ``seed``; each training interaction with an `intent`; each user with a `preference`.
    """
    shop, counts = make_shop(material, tokenizer, history, max_text_tokens)
    found = _about_items(shop)
    if material.splits is not None and material.interactions is not None:
        found += _histories(shop, material.splits.train, seed, counts)
        columns, cut = _columns(material, tokenizer, max_text_tokens)
        counts["lc_rec_texts_cut"] += cut
        found += _intents(shop, columns.get(INTENT, {}))
        found += _preferences(shop, columns.get(PREFERENCE, {}))
        _say(set(columns), counts)
    found.sort(key=lambda conversation: lc_rec.KINDS.index(conversation.kind))
    counts |= {f"lc_rec_{kind}": sum(c.kind == kind for c in found) for kind in lc_rec.KINDS}
    return found, counts


def validation(shop: Shop, entries: Sequence[History]) -> list[Conversation]:
    """The two history tasks for validation targets."""
    return [conversation for entry in entries for conversation in shop.histories(entry.items, entry.target)]


def make_shop(
    material: Material, tokenizer: PreTrainedTokenizerBase, history: int, max_text_tokens: int
) -> tuple[Shop, dict[str, int]]:
    """The catalogue with its texts cut, and counts of what was cut and of items without a text."""
    titles, cut = cut_texts(tokenizer, material.titles, max_text_tokens)
    descriptions, more = cut_texts(tokenizer, material.descriptions, max_text_tokens)
    catalogue = material.catalogue
    shop = Shop(catalogue.row_of(), catalogue.tokens, titles, descriptions, history)
    without = sum(not shop.name(row) for row in range(len(titles)))
    return shop, {"lc_rec_texts_cut": cut + more, "lc_rec_items_without_text": without}


def _about_items(shop: Shop) -> list[Conversation]:
    return [
        lc_rec.about_item(direction, form, text, shop.tokens[row])
        for direction in DIRECTIONS
        for row in range(len(shop.tokens))
        for form, text in forms_of(shop.titles[row], shop.descriptions[row])
    ]


def _histories(shop: Shop, train: Mapping[str, Sequence[str]], seed: int, counts: dict[str, int]) -> list[Conversation]:
    rng = np.random.default_rng([seed, 2])
    found: list[Conversation] = []
    counts["lc_rec_history_targets"] = sum(max(len(items) - 1, 0) for items in train.values())
    counts["lc_rec_history_targets_drawn"] = sum(len(items) > 1 for items in train.values())
    for items in train.values():
        if len(items) > 1:
            place = int(rng.integers(1, len(items)))
            found += shop.histories(items[:place], items[place])
    return found


def _columns(
    material: Material, tokenizer: PreTrainedTokenizerBase, most: int
) -> tuple[dict[str, dict[str, list[tuple[list[str], str]]]], int]:
    """Column -> user -> (training items up to this one, this one's text) for texts that are there; and how many cut."""
    assert material.interactions is not None
    read, cut = material.interactions, 0
    found: dict[str, dict[str, list[tuple[list[str], str]]]] = {}
    for name, by_user in read.texts.items():
        found[name] = {}
        for user, texts in by_user.items():
            train = [place for place, label in enumerate(read.labels(user)) if label == "train"]
            shown, more = cut_texts(tokenizer, [texts[place] for place in train], most)
            cut += more
            items = [read.items[user][place] for place in train]
            found[name][user] = [(items[: n + 1], text) for n, text in enumerate(shown) if text]
    return found, cut


def _intents(shop: Shop, by_user: Mapping[str, Sequence[tuple[list[str], str]]]) -> list[Conversation]:
    return [
        lc_rec.intent_to_item(text, shop.tokens[shop.row_of[items[-1]]])
        for entries in by_user.values()
        for items, text in entries
    ]


def _preferences(shop: Shop, by_user: Mapping[str, Sequence[tuple[list[str], str]]]) -> list[Conversation]:
    """What a user's last such text says, behind the items up to there."""
    last = [entries[-1] for entries in by_user.values() if entries]
    return [
        lc_rec.items_to_preference([shop.tokens[shop.row_of[i]] for i in cut_history(items, shop.history)[0]], text)
        for items, text in last
    ]


def _say(columns: set[str], counts: Mapping[str, int]) -> None:
    console.note(
        f"lc-rec: {counts['lc_rec_history_targets_drawn']:,} of {counts['lc_rec_history_targets']:,} training targets, "
        "one of each user, are asked for from a history in words, and in words from a history of tokens"
    )
    missing = [name for name in (INTENT, PREFERENCE) if name not in columns]
    if missing:
        console.note(
            f"lc-rec: the interactions have no column {' and no column '.join(map(repr, missing))}, so nothing is "
            f"trained on {' or '.join(f'{name}s' for name in missing)}"
        )
