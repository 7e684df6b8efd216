from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.prompts.examples import Example, collate

_IDS = st.lists(st.integers(1, 99), min_size=1, max_size=6)


@given(st.lists(st.builds(Example, _IDS, _IDS), min_size=1, max_size=5))
def test_collate_keeps_every_token_and_labels_answers_only(examples: list[Example]) -> None:
    batch = collate(examples, pad_id=0)
    assert {value.shape for value in batch.values()} == {(len(examples), max(map(len, examples)))}
    assert all(value.dtype == torch.int64 for value in batch.values())
    for row, example in enumerate(examples):
        seen = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][seen].tolist() == example.prompt + example.answer
        labels = batch["labels"][row]
        assert labels[labels >= 0].tolist() == example.answer
        assert (labels[: len(example.prompt)] == -100).all() and (batch["input_ids"][row][~seen] == 0).all()
