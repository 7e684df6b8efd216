"""LC-Rec's auxiliary tasks over a catalogue and its users, as conversations: the paper's baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.prompts import lc_rec
from gti_cli.prompts.conversations import Conversation, Made
from gti_cli.prompts.next_item import cut_history
from gti_cli.prompts.pair_prompts import TO_TEXT, TO_TOKENS, cut_texts, forms_of
from gti_cli.prompts.text_as_data import note_naming
from gti_cli.recommendation.task_data import INTENT, PREFERENCE, TaskData
from gti_cli.tables.arrays.ragged import offsets_of
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.tables.histories import SPLITS, History
from gti_cli.training.batches.stored_examples import PART, Concatenated, in_parts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TextCatalogue:
    """The items with their semantic IDs and texts, and how much of a history a prompt shows.

    Attributes:
        row_of: Row of the catalogue of each item id.
        tokens: Semantic-ID tokens of each row.
        titles: Title of each row, cut; "" where there is none.
        descriptions: Description of each row, cut; "" where there is none.
        max_history: Most items before a target.
        counts: Numbers of texts, of those that were cut or that hold the name of a token, and of items without a text.
    """

    row_of: Mapping[str, int]
    tokens: Sequence[str]
    titles: Sequence[str]
    descriptions: Sequence[str]
    max_history: int
    counts: Mapping[str, int]

    def name(self, row: int) -> str:
        """An item in words: its title, or else its description."""
        return self.titles[row] or self.descriptions[row]

    def titles_to_item(self, rows: Sequence[int], target: int) -> Conversation | None:
        """The history task titles -> semantic ID; None where no item of the history has words.

        Args:
            rows: Catalogue rows of the items that are shown, oldest first.
            target: Catalogue row of the next item.
        """
        titles = [self.name(row) for row in rows if self.name(row)]
        return lc_rec.titles_to_item(titles, self.tokens[target]) if titles else None

    def items_to_title(self, rows: Sequence[int], target: int) -> Conversation | None:
        """The history task semantic IDs -> title; None where the target has no words. For arguments see above."""
        title = self.name(target)
        return lc_rec.items_to_title([self.tokens[row] for row in rows], title) if title else None


def training_conversations(
    data: TaskData, tokenizer: PreTrainedTokenizerBase, catalogue: TextCatalogue, *, max_text_tokens: int, seed: int
) -> tuple[Sequence[Conversation], dict[str, int]]:
    """All training examples of LC-Rec's tasks.

    These are: each item in every form of its text and in both directions; for each user one target of the two history
    tasks, drawn with ``seed``; each training interaction with an `intent`; each user with a `preference`.

    Args:
        data: The tables.
        tokenizer: Tokenizer that measures where texts are cut.
        catalogue: The items with their texts.
        max_text_tokens: Length at which texts are cut.
        seed: Seed of the targets.

    Returns:
        The conversations in the order of `lc_rec.KINDS`, and their counts.
    """
    counts = dict(catalogue.counts)
    of_kind = _item_conversations(catalogue)
    if data.splits is not None and data.interactions is not None:
        of_kind |= _drawn_histories(catalogue, UserLists.of(data.splits.train), seed, counts)
        is_train = data.interactions.parts() == SPLITS.index("train")
        train = data.interactions.lists.where(is_train)
        texts = {
            column: _user_texts(UserLists.of(by_user).where(is_train), tokenizer, max_text_tokens, counts)
            for column, by_user in data.interactions.texts.items()
        }
        of_kind[lc_rec.INTENT_TO_ITEM] = _intents(catalogue, train, texts.get(INTENT, []))
        of_kind[lc_rec.ITEMS_TO_PREFERENCE] = _preferences(catalogue, train, texts.get(PREFERENCE, []))
        _print_summary(set(texts), counts)
    note_naming(counts["lc_rec_texts_naming_tokens"], counts.pop("lc_rec_texts"), "texts of lc-rec")
    counts |= {f"lc_rec_{kind}": len(of_kind.get(kind, ())) for kind in lc_rec.KINDS}
    return Concatenated([of_kind[kind] for kind in lc_rec.KINDS if kind in of_kind]), counts


def validation_conversations(catalogue: TextCatalogue, entries: Sequence[History]) -> list[Conversation]:
    """The two history tasks for validation targets."""
    conversations = []
    for entry in entries:
        rows = [catalogue.row_of[item] for item in cut_history(entry.items, catalogue.max_history)[0]]
        target = catalogue.row_of[entry.target]
        conversations += [catalogue.titles_to_item(rows, target), catalogue.items_to_title(rows, target)]
    return [conversation for conversation in conversations if conversation is not None]


def make_text_catalogue(
    data: TaskData, tokenizer: PreTrainedTokenizerBase, max_history: int, max_text_tokens: int
) -> TextCatalogue:
    """The catalogue with its texts cut.

    Args:
        data: The tables.
        tokenizer: Tokenizer that measures where texts are cut.
        max_history: Most items before a target.
        max_text_tokens: Length at which texts are cut.
    """
    counts = {"lc_rec_texts": 0, "lc_rec_texts_cut": 0, "lc_rec_texts_naming_tokens": 0}
    titles, descriptions = (
        _cut(tokenizer, column, max_text_tokens, counts) for column in (data.titles, data.descriptions)
    )
    counts["lc_rec_items_without_text"] = sum(
        not (title or description) for title, description in zip(titles, descriptions, strict=True)
    )
    return TextCatalogue(data.catalogue.row_of(), data.catalogue.tokens, titles, descriptions, max_history, counts)


def _cut(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], most: int, counts: dict[str, int]) -> list[str]:
    """Texts cut to ``most`` tokens, part by part; ``counts`` gets their numbers."""
    shown: list[str] = []
    for part in in_parts(texts):
        cut = cut_texts(tokenizer, part, most)
        shown += cut.texts
        counts["lc_rec_texts"] += len(cut.texts)
        counts["lc_rec_texts_cut"] += cut.cut
        counts["lc_rec_texts_naming_tokens"] += cut.naming
    return shown


def _item_conversations(catalogue: TextCatalogue) -> dict[str, Made]:
    """Each form of each item's text -> its semantic ID, and the other way round."""
    texts = zip(catalogue.titles, catalogue.descriptions, strict=True)
    forms = np.fromiter((len(forms_of(*both)) for both in texts), np.int64, len(catalogue.titles))
    ends = np.cumsum(forms)

    def about(direction: str, number: int) -> Conversation:
        """The conversation about a form of an item's text, both counted together."""
        row = int(np.searchsorted(ends, number, side="right"))
        form, text = forms_of(catalogue.titles[row], catalogue.descriptions[row])[number - int(ends[row] - forms[row])]
        return lc_rec.about_item(direction, form, text, catalogue.tokens[row])

    kinds = {TO_TOKENS: lc_rec.TEXT_TO_ITEM, TO_TEXT: lc_rec.ITEM_TO_TEXT}
    return {kind: Made(int(forms.sum()), partial(about, direction)) for direction, kind in kinds.items()}


def _drawn_histories(catalogue: TextCatalogue, train: UserLists, seed: int, counts: dict[str, int]) -> dict[str, Made]:
    """The two history tasks for one training target of each user; ``counts`` gets the numbers of targets."""
    rng = np.random.default_rng([seed, 2])
    users = np.flatnonzero(train.lengths > 1)
    counts["lc_rec_history_targets"] = int(np.maximum(train.lengths - 1, 0).sum())
    counts["lc_rec_history_targets_drawn"] = len(users)
    drawn = np.asarray([int(rng.integers(1, length)) for length in train.lengths[users].tolist()], dtype=np.int64)
    targets = train.offsets[users] + drawn  # places in the lists
    starts = np.maximum(train.offsets[users], targets - catalogue.max_history)
    rows = train.rows(catalogue.row_of)
    is_named = np.asarray([bool(catalogue.name(row)) for row in range(len(catalogue.titles))], dtype=bool)
    named_before = offsets_of(is_named[rows])
    kinds = {
        lc_rec.TITLES_TO_ITEM: (catalogue.titles_to_item, named_before[targets] > named_before[starts]),
        lc_rec.ITEMS_TO_TITLE: (catalogue.items_to_title, is_named[rows[targets]]),
    }

    def ask(about: Callable[..., Conversation | None], chosen: npt.NDArray[np.int64], number: int) -> Conversation:
        """The conversation of one of the chosen users."""
        start, target = starts[chosen[number]], targets[chosen[number]]
        conversation = about(rows[start:target].tolist(), int(rows[target]))
        assert conversation is not None, "users whose items have no words are left out"
        return conversation

    return {
        kind: Made(int(has_words.sum()), partial(ask, about, np.flatnonzero(has_words)))
        for kind, (about, has_words) in kinds.items()
    }


def _user_texts(
    lists: UserLists, tokenizer: PreTrainedTokenizerBase, max_text_tokens: int, counts: dict[str, int]
) -> list[str]:
    """The texts of the training interactions, cut, one user behind the other; ``counts`` gets their numbers."""
    shown: list[str] = []
    for start in range(0, len(lists.codes), PART):
        texts = lists.texts_of(lists.codes[start : start + PART])
        shown += _cut(tokenizer, texts, max_text_tokens, counts)
    return shown


def _intents(catalogue: TextCatalogue, train: UserLists, texts: Sequence[str]) -> Made:
    """Each intent -> the item of its interaction."""
    places, rows = _places_with_text(texts), train.rows(catalogue.row_of)

    def ask(number: int) -> Conversation:
        """The conversation of one intent."""
        return lc_rec.intent_to_item(texts[places[number]], catalogue.tokens[rows[places[number]]])

    return Made(len(places), ask)


def _preferences(catalogue: TextCatalogue, train: UserLists, texts: Sequence[str]) -> Made:
    """The items up to a user's last preference -> this preference."""
    places, rows = _places_with_text(texts), train.rows(catalogue.row_of)
    owners = np.searchsorted(train.offsets, places, side="right") - 1  # no user is without items
    is_last = np.append(owners[1:] != owners[:-1], True)[: len(owners)]
    last = places[is_last]
    starts = np.maximum(train.offsets[owners[is_last]], last + 1 - catalogue.max_history)

    def ask(number: int) -> Conversation:
        """The conversation of one user."""
        shown = rows[starts[number] : last[number] + 1].tolist()
        return lc_rec.items_to_preference([catalogue.tokens[row] for row in shown], texts[last[number]])

    return Made(len(last), ask)


def _places_with_text(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.flatnonzero(np.fromiter(map(bool, texts), dtype=bool, count=len(texts)))


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
