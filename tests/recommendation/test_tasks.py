from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.prompts.next_item import WORDINGS, encode_history
from gti_cli.recommendation.options import TaskOptions
from gti_cli.recommendation.task_data import read_task_data
from gti_cli.recommendation.tasks import make_tasks, next_item_task, task_conversations
from gti_cli.tables.histories import History, Splits
from gti_cli.training.batches.history_examples import HistoryExample, single_target_examples
from gti_cli.workspace import Workspace
from tests.support.models import make_tokenizer

ROW_OF = {f"i{n}": n for n in range(10)}


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=30), min_size=1, max_size=5),
    st.integers(1, 8),
    st.sampled_from(["all", "last"]),
)
def test_counts_are_those_of_a_loop(users: list[list[int]], history: int, targets: str) -> None:
    train = {f"u{n}": [f"i{item}" for item in items] for n, items in enumerate(users)}
    splits = Splits(train, [], [], {})
    if max(map(len, users)) < 2:
        with pytest.raises(InputError, match="no next item to learn"):
            next_item_task(splits, ROW_OF, TaskOptions(history=history, targets=targets, valid_sample=10), 0)
        return
    task = next_item_task(splits, ROW_OF, TaskOptions(history=history, targets=targets, valid_sample=10), 0)
    singles = [single for example in task.train for single in single_target_examples(example)]
    places = [place for items in users for place in range(1, len(items)) if targets == "all" or place == len(items) - 1]
    assert len(singles) == task.counts["train_targets"] == len(places)
    # Each target's history is cut if it is longer than what is shown of it.
    cut = sum(place > len(single.items) - 1 for place, single in zip(places, singles, strict=True))
    assert task.counts["cut_targets"] == cut
    assert task.counts["train_users"] == sum(len(items) > 1 for items in users)


def test_validation_is_sampled_once_and_for_all() -> None:
    valid = [History(f"u{n}", ["i1", "i2", f"i{n % 10}"], "i3") for n in range(50)]
    splits = Splits({"u": ["i1", "i2"]}, valid, [], {})
    one, two = (next_item_task(splits, ROW_OF, TaskOptions(history=2, valid_sample=20), 4) for _ in range(2))
    assert one.valid == two.valid and len(one.valid) == one.counts["valid_targets_used"] == 20
    assert all(example == HistoryExample((2, example.items[1], 3), 2) for example in one.valid)
    assert len(next_item_task(splits, ROW_OF, TaskOptions(history=2, valid_sample=99), 4).valid) == 50


def test_wordings_are_drawn_for_users_and_kept_apart(make_world: Any) -> None:
    world = make_world()
    data = read_task_data(Workspace(world.workspace), world.interactions, None, None)
    assert data.splits is not None
    row_of, tokens = data.catalogue.row_of(), data.catalogue.tokens
    task = next_item_task(data.splits, row_of, TaskOptions(history=2), 0)
    examples: Any = task.train
    assert {example.wording for example in examples} == {0, 1, 2}
    assert all(
        example.wording == 0 for example in next_item_task(data.splits, row_of, TaskOptions(wordings=1), 0).train
    )  # type: ignore[union-attr]
    assert examples == next_item_task(data.splits, row_of, TaskOptions(history=2), 0).train
    assert examples != next_item_task(data.splits, row_of, TaskOptions(history=2), 1).train
    assert all(example.wording == 0 for example in task.valid)  # type: ignore[union-attr]
    # In words: the wording of the user, the history, the next item.
    said = list(task_conversations(task, tokens))
    assert len(said) == task.counts["train_targets"]
    assert {w for c in said for w in WORDINGS if c.user.startswith(w)} == set(WORDINGS)
    tokenizer = make_tokenizer()
    assert encode_history(tokenizer, ["<a_1>"], 2) != encode_history(tokenizer, ["<a_1>"], 0)
    assert len(make_tasks(data, tokenizer, TaskOptions(), 0)) == 1
