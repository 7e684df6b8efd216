"""History examples and their layout, against plain loops."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.prompts.examples import IGNORED
from gti_cli.prompts.next_item import Frame
from gti_cli.training.batches.history_examples import HistoryExample, single_target_examples
from gti_cli.training.batches.history_packing import HistoryLayout, tree_mask

ITEMS = np.arange(40).reshape(20, 2) + 100
FRAMES = (Frame([1, 2, 3], [4, 5]), Frame([1, 6], [4, 5]))
LAYOUT = HistoryLayout(FRAMES[0], ITEMS, end_id=9, pad_id=0, other_frames=FRAMES[1:])


some_examples = st.lists(
    st.integers(2, 6).flatmap(
        lambda n: st.builds(
            HistoryExample,
            st.lists(st.integers(0, 19), min_size=n, max_size=n).map(tuple),
            st.integers(1, n - 1),
            st.integers(0, 1),
        )
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(some_examples, st.sampled_from([0.0, 1.0, 25.0, 60.0, 1e4]))
def test_layout_keeps_what_separate_examples_would_hold(batch: list[HistoryExample], even: float) -> None:
    """Read each target back out of the batch: what its branch may see, in order of position, is its own example."""
    layout = replace(LAYOUT, equal_cost_length=even)
    rows = layout.pack(batch)
    assert Counter(example for row in rows for example in row) == Counter(batch)
    tensors = layout.collate(batch)
    counts = [sum(example.target_count for example in row) for row in rows]
    keep = tensors["keep"].view(max(counts), 3)
    targets = tensors["targets"].view(len(rows), max(counts), 3)
    for row, row_examples in enumerate(rows):
        ids, places, branches, owners = (
            tensors[name][row] for name in ("input_ids", "position_ids", "branches", "owners")
        )
        before = FRAMES[row_examples[0].wording].before
        own = sum(layout.token_count(example) - len(before) for example in row_examples)
        assert int((branches >= 0).sum()) == len(before) + own
        assert (ids[branches < 0] == layout.pad_id).all()
        missing = max(counts) - counts[row]
        assert (targets[row, :missing] == IGNORED).all()
        asked = [
            (owner, one) for owner, example in enumerate(row_examples, 1) for one in single_target_examples(example)
        ]
        for number, (owner, single) in enumerate(asked, start=1):
            history, target = single.items[:-1], single.items[-1]
            expected = [*before, *ITEMS[list(history)].ravel(), 4, 5, *ITEMS[target]]
            last = int((branches == number).nonzero().max())
            mask = tree_mask(tensors, torch.float32)[row, 0, last]
            seen = (mask == 0).nonzero().ravel()
            assert set(owners[seen].tolist()) <= {0, owner}
            seen = seen[places[seen].argsort()]
            assert ids[seen].tolist() == expected
            assert places[seen].tolist() == list(range(len(expected)))
            assert targets[row, missing + number - 1].tolist() == [*ITEMS[target], 9]
            # The kept columns are the end of the prompt and the answer's tokens: each predicts the next of the answer.
            assert keep[missing + number - 1].tolist() == seen[-3:].tolist()


@settings(max_examples=100, deadline=None)
@given(some_examples, st.sampled_from([1.0, 25.0, 60.0, 1e4]))
def test_rows_cost_no_more_than_examples_alone(batch: list[HistoryExample], even: float) -> None:
    layout = replace(LAYOUT, equal_cost_length=even)
    rows, alone = layout.pack(batch), replace(layout, equal_cost_length=0).pack(batch)
    assert alone == [[example] for example in batch]
    assert all(len({example.wording for example in row}) == 1 for row in rows)
    widths = [len(layout.token_table(row)[0]) for row in rows], [layout.token_count(example) for example in batch]
    costs = [len(found) * max(found) * (1 + max(found) / even) for found in widths]
    assert rows == alone or costs[0] < 0.9 * costs[1]


def test_short_examples_stand_together_and_long_ones_alone() -> None:
    short, long = HistoryExample((1, 2), 1), HistoryExample(tuple(range(20)), 1)
    assert len(replace(LAYOUT, equal_cost_length=1e4).pack([short] * 8)) == 1
    assert len(replace(LAYOUT, equal_cost_length=10.0).pack([long] * 8)) == 8


def test_collate_gives_tensors_of_whole_numbers() -> None:
    assert {value.dtype for value in LAYOUT.collate([HistoryExample((1, 2, 3), 2)]).values()} == {torch.int64}
