"""The tasks of fine-tuning: tables become history examples and conversations, for training and for validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.geometry.sampling import draw_at_most
from gti_cli.prompts import query as search_prompts
from gti_cli.prompts.conversations import USER, Conversation, Made
from gti_cli.prompts.next_item import SYSTEM, WORDINGS, cut_history
from gti_cli.prompts.pair_prompts import cut_texts
from gti_cli.prompts.text_as_data import note_naming
from gti_cli.recommendation.task_data import LC_REC, NEXT_ITEM, SEARCH, TaskData
from gti_cli.tables.arrays.query_lists import GOOD, QueryLists
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.tables.histories import History, Splits
from gti_cli.training.batches.history_arrays import HistoryExamples, cut_histories
from gti_cli.training.batches.history_examples import HistoryExample, single_target_examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gti_cli.recommendation.options import TaskOptions

_T = TypeVar("_T")


@dataclass(frozen=True)
class Task:
    """The examples of one task, not yet tokenised.

    Attributes:
        name: One of `gti_cli.recommendation.task_data.TASKS`.
        train: History examples (next-item) or conversations to train on.
        valid: The same to validate with. A history example among them has one target.
        target_rows: Row of the catalogue that is the answer of each validation example. Empty for tasks with answers
            in words.
        counts: Counts of this task, for the manifest.
    """

    name: str
    train: Sequence[HistoryExample] | Sequence[Conversation]
    valid: Sequence[HistoryExample] | Sequence[Conversation]
    target_rows: Sequence[int]
    counts: dict[str, int]


def make_tasks(data: TaskData, tokenizer: PreTrainedTokenizerBase, options: TaskOptions, seed: int) -> list[Task]:
    """Make the examples of each task of ``data``, in the order of the tasks.

    Args:
        data: The tables.
        tokenizer: Tokenizer that measures where texts are cut.
        options: What is trained on.
        seed: Seed of samples.

    Raises:
        InputError: When a task has nothing to train on.
    """
    tasks = []
    for name in data.tasks:
        if name == NEXT_ITEM:
            assert data.splits is not None
            tasks.append(next_item_task(data.splits, data.catalogue.row_of(), options, seed))
        elif name == SEARCH:
            tasks.append(search_task(data, tokenizer, options, seed))
        else:
            tasks.append(_lc_rec_task(data, tokenizer, options, seed))
    return tasks


def next_item_task(splits: Splits, row_of: Mapping[str, int], options: TaskOptions, seed: int) -> Task:
    """The next item of each user's history.

    A user's prompts have one of ``options.wordings`` wordings, drawn with ``seed``. Validation uses the first wording,
    as `gti evaluate` does.

    Args:
        splits: Training, validation and test items of each user.
        row_of: Row of the catalogue of each item.
        options: What is trained on.
        seed: Seed of the wordings and of the validation sample.

    Returns:
        The task. Its counts are train_targets, train_users, cut_targets (training targets of which the prompt shows
        only the last items of the history) and valid_targets_used.

    Raises:
        InputError: When no user has two training interactions.
    """
    max_history, last_only = options.history, options.targets == "last"
    lists = UserLists.of(splits.train)
    wordings = np.random.default_rng([seed, 1]).integers(options.wordings, size=len(lists)).astype(np.int8)
    train = cut_histories(lists.rows(row_of), lists.offsets, max_history, last_only=last_only, wordings=wordings)
    if not len(train):
        raise InputError(
            "no user has two interactions to train on: there is no next item to learn",
            remedy="give histories of at least 4 interactions (two to train on, one to validate, one to test)",
        )
    entries = draw_at_most(splits.valid, options.valid_sample, seed)
    valid = [_validation_example(entry, row_of, max_history) for entry in entries]
    counts = {
        "train_targets": int(train.target_counts.sum()),
        "train_users": int((lists.lengths > 1).sum()),
        "cut_targets": _cut_targets(train, lists, max_history, last_only=last_only),
        "valid_targets_used": len(valid),
    }
    return Task(NEXT_ITEM, train, valid, [example.items[-1] for example in valid], counts)


def _cut_targets(train: HistoryExamples, lists: UserLists, max_history: int, *, last_only: bool) -> int:
    """The number of targets of which the prompt shows only the last items of the history."""
    # Only the targets of a user's first example are shown their whole history: every later example begins later, and
    # so does the one example of ``last_only`` where the history is too long for it.
    is_whole = train.starts == lists.offsets[train.users]
    if last_only:
        is_whole &= lists.lengths[train.users] <= max_history + 1
    return int(train.target_counts[~is_whole].sum())


def search_task(data: TaskData, tokenizer: PreTrainedTokenizerBase, options: TaskOptions, seed: int) -> Task:
    """The items that were judged good for a query: one conversation for each pair.

    Args:
        data: The tables, with queries.
        tokenizer: Tokenizer that measures where queries are cut.
        options: What is trained on.
        seed: Seed of the validation sample.

    Returns:
        The task. Its counts are search_pairs, search_queries, search_valid_pairs_used, search_queries_cut and
        search_queries_naming_tokens.

    Raises:
        InputError: When no training query has a good item.
    """
    assert data.queries is not None
    queries, row_of = data.queries, data.catalogue.row_of()
    train, valid = QueryLists.of(queries.train), QueryLists.of(queries.valid)
    pairs = train.places()[train.table.grades[train.places()] >= GOOD]
    if not len(pairs):
        raise InputError(
            "no training query has an item of relevance 2: there is nothing to learn from",
            where=queries.path,
            remedy="mark some pairs of query and item as good (2) and their query as train",
        )
    good = valid.places()[valid.table.grades[valid.places()] >= GOOD]
    good = good[draw_at_most(range(len(good)), options.valid_sample, seed)]
    rows, target_rows = _rows(train, pairs, row_of), _rows(valid, good, row_of)
    asked, asked_in_validation = train.owners(pairs), valid.owners(good)
    texts = list(dict.fromkeys([*_texts(train, asked), *_texts(valid, asked_in_validation)]))
    shown = cut_texts(tokenizer, texts, search_prompts.MAX_QUERY_TOKENS)
    note_naming(shown.naming, len(texts), "queries")
    cut_text_of = dict(zip(texts, shown.texts, strict=True))

    def conversation(text: str, row: int) -> Conversation:
        """What is asked, and the item that is the answer."""
        question = search_prompts.question(cut_text_of[text])
        return Conversation(SEARCH, search_prompts.SYSTEM, question, data.catalogue.tokens[row], USER)

    train_texts, valid_texts = train.table.texts, valid.table.texts
    counts = {
        "search_pairs": len(pairs),
        "search_queries": len(np.unique(asked)),
        "search_valid_pairs_used": len(good),
        "search_queries_cut": shown.cut,
        "search_queries_naming_tokens": shown.naming,
    }
    return Task(
        SEARCH,
        Made(len(pairs), lambda n: conversation(train_texts[int(asked[n])], int(rows[n]))),
        [
            conversation(valid_texts[number], row)
            for number, row in zip(asked_in_validation.tolist(), target_rows.tolist(), strict=True)
        ],
        target_rows.tolist(),
        counts,
    )


def _rows(queries: QueryLists, places: npt.NDArray[np.int64], row_of: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """The row of the catalogue of each of some graded items, given by their places."""
    rows: npt.NDArray[np.int64] = queries.table.items.rows(row_of)[queries.table.codes[places]]
    return rows


def _texts(queries: QueryLists, numbers: npt.NDArray[np.int64]) -> Iterable[str]:
    """The texts of some queries, given by their numbers; each query once."""
    distinct, first = np.unique(numbers, return_index=True)
    return queries.table.texts.take(distinct[np.argsort(first)])


def task_conversations(task: Task, tokens: Sequence[str]) -> Iterable[Conversation]:
    """A task's training examples as conversations, one for each target (for `gti export conversations`).

    Args:
        task: The task.
        tokens: Semantic-ID tokens of each row of the catalogue.

    Yields:
        The conversations, in the order of the examples.
    """
    for example in task.train:
        if isinstance(example, Conversation):
            yield example
            continue
        for single in single_target_examples(example):
            *history, target = single.items
            prompt = WORDINGS[single.wording] + "".join(tokens[row] for row in history)
            yield Conversation(NEXT_ITEM, SYSTEM, prompt, tokens[target])


def _lc_rec_task(data: TaskData, tokenizer: PreTrainedTokenizerBase, options: TaskOptions, seed: int) -> Task:
    """LC-Rec's auxiliary tasks as one task; half of the validation sample, since a history makes two conversations."""
    from gti_cli.recommendation import lc_rec

    most = options.max_text_tokens
    catalogue = lc_rec.make_text_catalogue(data, tokenizer, options.history, most)
    train, counts = lc_rec.training_conversations(data, tokenizer, catalogue, max_text_tokens=most, seed=seed)
    if not train:
        raise InputError("no item has a text for --tasks lc-rec", remedy="give the items titles or drop the task")
    entries = draw_at_most(data.splits.valid, options.valid_sample // 2, seed) if data.splits is not None else []
    return Task(LC_REC, train, lc_rec.validation_conversations(catalogue, entries), [], counts)


def _validation_example(entry: History, row_of: Mapping[str, int], max_history: int) -> HistoryExample:
    """A validation target after its most recent items."""
    shown, _ = cut_history(entry.items, max_history)
    return HistoryExample((*(row_of[item] for item in shown), row_of[entry.target]), len(shown))
