"""The head's rows as one matrix: what is read is the model's, and what is written back reaches it, no more."""

from __future__ import annotations

import pytest
import torch

from gti_cli.grounding.regression.head_rows import head_rows, put_head_rows
from gti_cli.grounding.trainable_rows import NewRows
from tests.support.grounding import NEW_IDS, OLD, model_of


@pytest.mark.parametrize(("kind", "tied"), [("qwen3", True), ("qwen3", False), ("phi", False)])
def test_read_and_written(kind: str, tied: bool) -> None:
    model = model_of(kind, tied)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    rows = NewRows(model, NEW_IDS)
    matrix = head_rows(rows)
    biased = head.bias is not None
    assert torch.equal(matrix[:, :32].float(), head.weight[OLD:]) and matrix.shape[1] == 32 + biased
    if biased:
        assert torch.equal(matrix[:, 32].float(), head.bias[OLD:])
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    put_head_rows(rows, matrix + 1)
    rows.sync()
    assert torch.equal(head.weight[OLD:], (matrix[:, :32] + 1).float())
    assert not biased or torch.equal(head.bias[OLD:], (matrix[:, 32] + 1).float())
    assert torch.equal(head.weight[:OLD], before["lm_head.weight"][:OLD])
    assert tied or torch.equal(embedding.weight, before["model.embed_tokens.weight"])
