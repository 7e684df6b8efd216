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
from gti_cli.prompts.pair_prompts import DIRECTIONS, cut_texts, forms_of
from gti_cli.prompts.text_as_data import note_naming
from gti_cli.recommendation.task_data import INTENT, PREFERENCE, TaskData
from gti_cli.tables.histories import History

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# User -> for each of the user's texts: the training items up to the interaction with this text, and the text.
UserTexts = dict[str, list[tuple[list[str], str]]]


@dataclass(frozen=True)
class TextCatalogue:
    """The items with their semantic IDs and texts, and how much of a history a prompt shows.

    Attributes:
        row_of: Row of the catalogue of each item id.
        tokens: Semantic-ID tokens of each row.
        titles: Title of each row, cut; "" where there is none.
        descriptions: Description of each row, cut; "" where there is none.
        max_history: Most items before a target.
    """

    row_of: Mapping[str, int]
    tokens: Sequence[str]
    titles: Sequence[str]
    descriptions: Sequence[str]
    max_history: int

    def name(self, row: int) -> str:
        """An item in words: its title, or else its description."""
        return self.titles[row] or self.descriptions[row]

    def history_conversations(self, items: Sequence[str], target: str) -> list[Conversation]:
        """The two history tasks for a target: titles -> semantic ID, and semantic IDs -> title.

        A task is left out where it has no words.

        Args:
            items: Ids of the items before the target, oldest first.
            target: Id of the target.
        """
        rows = [self.row_of[item] for item in cut_history(items, self.max_history)[0]]
        target_row = self.row_of[target]
        titles = [self.name(row) for row in rows if self.name(row)]
        conversations = [lc_rec.titles_to_item(titles, self.tokens[target_row])] if titles else []
        if self.name(target_row):
            conversations.append(lc_rec.items_to_title([self.tokens[row] for row in rows], self.name(target_row)))
        return conversations


def training_conversations(
    data: TaskData, tokenizer: PreTrainedTokenizerBase, *, max_history: int, max_text_tokens: int, seed: int
) -> tuple[list[Conversation], dict[str, int]]:
    """All training examples of LC-Rec's tasks.

    These are: each item in every form of its text and in both directions; for each user one target of the two history
    tasks, drawn with ``seed``; each training interaction with an `intent`; each user with a `preference`.

    Args:
        data: The tables.
        tokenizer: Tokenizer that measures where texts are cut.
        max_history: Most items before a target.
        max_text_tokens: Length at which texts are cut.
        seed: Seed of the targets.

    Returns:
        The conversations in the order of `lc_rec.KINDS`, and their counts.
    """
    catalogue, counts = make_text_catalogue(data, tokenizer, max_history, max_text_tokens)
    conversations = _item_conversations(catalogue)
    if data.splits is not None and data.interactions is not None:
        conversations += _drawn_histories(catalogue, data.splits.train, seed, counts)
        texts = _user_texts(data, tokenizer, max_text_tokens, counts)
        conversations += _intents(catalogue, texts.get(INTENT, {}))
        conversations += _preferences(catalogue, texts.get(PREFERENCE, {}))
        _print_summary(set(texts), counts)
    note_naming(counts["lc_rec_texts_naming_tokens"], counts.pop("lc_rec_texts"), "texts of lc-rec")
    conversations.sort(key=lambda conversation: lc_rec.KINDS.index(conversation.kind))
    counts |= {f"lc_rec_{kind}": sum(c.kind == kind for c in conversations) for kind in lc_rec.KINDS}
    return conversations, counts


def validation_conversations(catalogue: TextCatalogue, entries: Sequence[History]) -> list[Conversation]:
    """The two history tasks for validation targets."""
    return [
        conversation for entry in entries for conversation in catalogue.history_conversations(entry.items, entry.target)
    ]


def make_text_catalogue(
    data: TaskData, tokenizer: PreTrainedTokenizerBase, max_history: int, max_text_tokens: int
) -> tuple[TextCatalogue, dict[str, int]]:
    """The catalogue with its texts cut.

    Args:
        data: The tables.
        tokenizer: Tokenizer that measures where texts are cut.
        max_history: Most items before a target.
        max_text_tokens: Length at which texts are cut.

    Returns:
        The catalogue, and counts: of texts, of those that were cut or that hold the name of a token, and of items
        without a text.
    """
    titles, descriptions = (
        cut_texts(tokenizer, column, max_text_tokens) for column in (data.titles, data.descriptions)
    )
    catalogue = TextCatalogue(
        data.catalogue.row_of(), data.catalogue.tokens, titles.texts, descriptions.texts, max_history
    )
    without_text = sum(not catalogue.name(row) for row in range(len(titles.texts)))
    return catalogue, {
        "lc_rec_texts": len(titles.texts) + len(descriptions.texts),
        "lc_rec_texts_cut": titles.cut + descriptions.cut,
        "lc_rec_texts_naming_tokens": titles.naming + descriptions.naming,
        "lc_rec_items_without_text": without_text,
    }


def _item_conversations(catalogue: TextCatalogue) -> list[Conversation]:
    """Each form of each item's text -> its semantic ID, and the other way round."""
    return [
        lc_rec.about_item(direction, form, text, catalogue.tokens[row])
        for direction in DIRECTIONS
        for row in range(len(catalogue.tokens))
        for form, text in forms_of(catalogue.titles[row], catalogue.descriptions[row])
    ]


def _drawn_histories(
    catalogue: TextCatalogue, train: Mapping[str, Sequence[str]], seed: int, counts: dict[str, int]
) -> list[Conversation]:
    """The two history tasks for one training target of each user; ``counts`` gets the numbers of targets."""
    rng = np.random.default_rng([seed, 2])
    conversations: list[Conversation] = []
    counts["lc_rec_history_targets"] = sum(max(len(items) - 1, 0) for items in train.values())
    counts["lc_rec_history_targets_drawn"] = sum(len(items) > 1 for items in train.values())
    for items in train.values():
        if len(items) > 1:
            place = int(rng.integers(1, len(items)))
            conversations += catalogue.history_conversations(items[:place], items[place])
    return conversations


def _user_texts(
    data: TaskData, tokenizer: PreTrainedTokenizerBase, max_text_tokens: int, counts: dict[str, int]
) -> dict[str, UserTexts]:
    """The texts of each text column of the training interactions, cut; ``counts`` gets their numbers."""
    assert data.interactions is not None
    interactions = data.interactions
    by_column: dict[str, UserTexts] = {}
    for column, by_user in interactions.texts.items():
        by_column[column] = {}
        for user, texts in by_user.items():
            train = [place for place, label in enumerate(interactions.labels(user)) if label == "train"]
            shown = cut_texts(tokenizer, [texts[place] for place in train], max_text_tokens)
            counts["lc_rec_texts"] += len(shown.texts)
            counts["lc_rec_texts_cut"] += shown.cut
            counts["lc_rec_texts_naming_tokens"] += shown.naming
            items = [interactions.items[user][place] for place in train]
            by_column[column][user] = [(items[: n + 1], text) for n, text in enumerate(shown.texts) if text]
    return by_column


def _intents(catalogue: TextCatalogue, by_user: UserTexts) -> list[Conversation]:
    """Each intent -> the item of its interaction."""
    return [
        lc_rec.intent_to_item(text, catalogue.tokens[catalogue.row_of[items[-1]]])
        for entries in by_user.values()
        for items, text in entries
    ]


def _preferences(catalogue: TextCatalogue, by_user: UserTexts) -> list[Conversation]:
    """The items up to a user's last preference -> this preference."""
    last = [entries[-1] for entries in by_user.values() if entries]
    tokens, row_of = catalogue.tokens, catalogue.row_of
    return [
        lc_rec.items_to_preference(
            [tokens[row_of[item]] for item in cut_history(items, catalogue.max_history)[0]], text
        )
        for items, text in last
    ]


def _print_summary(columns: set[str], counts: Mapping[str, int]) -> None:
    """Say how many history targets are trained on, and which text columns are missing."""
    console.note(
        "lc-rec: the two history tasks (titles -> item, items -> title) train on one target of each user: "
        f"{counts['lc_rec_history_targets_drawn']:,} of {counts['lc_rec_history_targets']:,} training targets"
    )
    missing = [name for name in (INTENT, PREFERENCE) if name not in columns]
    if missing:
        console.note(
            f"lc-rec: the interactions have no column {' and no column '.join(map(repr, missing))}, so there is no "
            f"training on {' or '.join(f'{name}s' for name in missing)}"
        )
