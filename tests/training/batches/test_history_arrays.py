"""All users' histories cut at once, against one user after the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.training.batches.history_arrays import cut_histories
from gti_cli.training.batches.history_examples import history_examples, single_target_examples


@given(
    st.lists(st.lists(st.integers(0, 19), max_size=40), max_size=5),
    st.integers(1, 12),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_equals_one_user_after_the_other(users: list[list[int]], history: int, last_only: bool, random: object) -> None:
    wordings = [random.randint(0, 2) for _ in users]  # type: ignore[attr-defined]
    rows = np.array([item for items in users for item in items], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, users)])
    found = cut_histories(rows, offsets, history, last_only=last_only, wordings=np.array(wordings, dtype=np.int8))
    expected = [
        example
        for user, (items, wording) in enumerate(zip(users, wordings, strict=True))
        for example in history_examples(items, history, last_only=last_only, wording=wording, user=user)
    ]
    assert found == expected and [example.user for example in found] == [example.user for example in expected]
    assert found.lengths.tolist() == [len(example.items) for example in expected]
    assert found.target_counts.tolist() == [example.target_count for example in expected]
    singles = [single for example in expected for single in single_target_examples(example)]
    assert found.single_targets() == singles
    assert found[::2] == expected[::2]
    assert {type(number) for example in found for number in (*example.items, example.first_target)} <= {int}
