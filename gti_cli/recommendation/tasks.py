"""The tasks of fine-tuning: from the tables to windows of histories and conversations, training and validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gti_cli.errors import InputError
from gti_cli.prompts import query as search_prompts
from gti_cli.prompts.conversations import Conversation
from gti_cli.prompts.next_item import SYSTEM, WORDINGS, cut_history
from gti_cli.prompts.pairs import cut_texts
from gti_cli.recommendation.material import LC_REC, NEXT_ITEM, SEARCH, Material
from gti_cli.tables.histories import History, Splits
from gti_cli.tables.queries import Query
from gti_cli.training.batches.packing import Window, separate, windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gti_cli.recommendation.options import TaskOptions

_T = TypeVar("_T")


@dataclass(frozen=True)
class Task:
    """What one task trains on and validates with.

    Attributes:
        name: one of `gti_cli.recommendation.material.TASKS`.
        train, valid: windows of histories (next item) or conversations. Each validation window has one target.
        wanted: the row of the catalogue that each validation entry asks for; [] where it asks for words as well.
        counts: of this task, for the manifest.
    """

    name: str
    train: Sequence[Window] | Sequence[Conversation]
    valid: Sequence[Window] | Sequence[Conversation]
    wanted: Sequence[int]
    counts: dict[str, int]


def make_tasks(material: Material, tokenizer: PreTrainedTokenizerBase, options: TaskOptions, seed: int) -> list[Task]:
    """Each task of ``material``, in the order given.

    Raises:
        InputError: a task has nothing to train on.
    """
    found = []
    for name in material.tasks:
        if name == NEXT_ITEM:
            assert material.splits is not None
            found.append(next_item(material.splits, material.catalogue.row_of(), options, seed))
        elif name == SEARCH:
            assert material.queries is not None
            found.append(search(material, tokenizer, options, seed))
        else:
            found.append(_lc_rec(material, tokenizer, options, seed))
    return found


def next_item(splits: Splits, row_of: Mapping[str, int], options: TaskOptions, seed: int) -> Task:
    """The next item of a user's history, for all users.

    ``counts``: train_targets, train_users, cut_targets (training targets whose history is longer than what they are
    shown), valid_targets_used. Each user is asked in one of ``options.wordings`` wordings, drawn with ``seed``;
    validation uses the first one, as `gti evaluate` does.

    Args:
        splits: the users' interactions. row_of: item id -> row of the catalogue. options: see `TaskOptions`.

    Raises:
        InputError: no user has two training interactions, so there is nothing to learn from.
    """
    train: list[Window] = []
    cut = users = 0
    history, last_only = options.history, options.targets == "last"
    asked = np.random.default_rng([seed, 1]).integers(options.wordings, size=len(splits.train)).tolist()
    for items, wording in zip(splits.train.values(), asked, strict=True):
        found = windows([row_of[item] for item in items], history, last_only=last_only, wording=wording)
        train += found
        users += bool(found)
        # Shown in full are the first places of a user's first window; every later window has lost its beginning.
        shown = sum(window.targets for window in found[:1]) if len(items) <= history + 1 or not last_only else 0
        cut += sum(window.targets for window in found) - shown
    if not train:
        raise InputError(
            "no user has two interactions to train on: there is no next item to learn",
            remedy="give histories of at least 4 interactions (two to train on, one to validate, one to test)",
        )
    valid = [_valid_window(entry, row_of, history) for entry in sample(splits.valid, options.valid_sample, seed)]
    counts = {
        "train_targets": sum(window.targets for window in train),
        "train_users": users,
        "cut_targets": cut,
        "valid_targets_used": len(valid),
    }
    return Task(NEXT_ITEM, train, valid, [window.items[-1] for window in valid], counts)


def search(material: Material, tokenizer: PreTrainedTokenizerBase, options: TaskOptions, seed: int) -> Task:
    """A query -> an item that was judged good for it, each such pair once.

    ``counts``: search_pairs, search_queries, search_valid_pairs_used, search_queries_cut.

    Raises:
        InputError: no training query has a good item.
    """
    assert material.queries is not None
    queries, row_of = material.queries, material.catalogue.row_of()
    train = _good_pairs(queries.train)
    if not train:
        raise InputError(
            "no training query has an item of relevance 2: there is nothing to learn from",
            where=queries.path,
            remedy="mark some pairs of query and item as good (2) and their query as train",
        )
    valid = sample(_good_pairs(queries.valid), options.valid_sample, seed)
    pairs = [*train, *valid]
    texts = list(dict.fromkeys(query.text for query, _ in pairs))
    shown, cut = cut_texts(tokenizer, texts, search_prompts.MAX_QUERY_TOKENS)
    shown_of = dict(zip(texts, shown, strict=True))
    made = [
        Conversation(
            SEARCH,
            search_prompts.SYSTEM,
            search_prompts.question(shown_of[query.text]),
            material.catalogue.tokens[row_of[item]],
        )
        for query, item in pairs
    ]
    counts = {
        "search_pairs": len(train),
        "search_queries": len({query.query_id for query, _ in train}),
        "search_valid_pairs_used": len(valid),
        "search_queries_cut": cut,
    }
    return Task(SEARCH, made[: len(train)], made[len(train) :], [row_of[item] for _, item in valid], counts)


def in_words(task: Task, tokens: Sequence[str]) -> Iterable[Conversation]:
    """A task's training examples as conversations, one for each target; ``tokens`` of each row of the catalogue."""
    for unit in task.train:
        if isinstance(unit, Conversation):
            yield unit
            continue
        for window in separate(unit):
            *shown, target = window.items
            asked = WORDINGS[window.wording] + "".join(tokens[row] for row in shown)
            yield Conversation(NEXT_ITEM, SYSTEM, asked, tokens[target])


def _lc_rec(material: Material, tokenizer: PreTrainedTokenizerBase, options: TaskOptions, seed: int) -> Task:
    from gti_cli.recommendation import lc_rec

    limits = {"history": options.history, "max_text_tokens": options.max_text_tokens}
    train, counts = lc_rec.conversations(material, tokenizer, seed=seed, **limits)
    if not train:
        raise InputError("no item has a text for --tasks lc-rec", remedy="give the items titles or drop the task")
    shop, _ = lc_rec.make_shop(material, tokenizer, **limits)
    entries = sample(material.splits.valid, options.valid_sample // 2, seed) if material.splits is not None else []
    return Task(LC_REC, train, lc_rec.validation(shop, entries), [], counts)


def _good_pairs(queries: Iterable[Query]) -> list[tuple[Query, str]]:
    return [(query, item) for query in queries for item in query.items()]


def _valid_window(entry: History, row_of: Mapping[str, int], history: int) -> Window:
    shown, _ = cut_history(entry.items, history)
    return Window((*(row_of[item] for item in shown), row_of[entry.target]), len(shown))


def sample(entries: Sequence[_T], most: int, seed: int) -> list[_T]:
    """At most ``most`` of the entries, drawn with ``seed`` where there are more, in their order."""
    if len(entries) <= most:
        return list(entries)
    drawn = np.random.default_rng(seed).choice(len(entries), most, replace=False)
    return [entries[n] for n in sorted(drawn.tolist())]
