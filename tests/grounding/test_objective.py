from __future__ import annotations

from typing import Any

import pytest
import torch
from grounding.made import NEW_IDS, OLD, PAD, algorithm_1, examples_of, model_of

from gti_cli.grounding.batches import Collator, cut_examples
from gti_cli.grounding.objective import GroundingModel
from gti_cli.grounding.rows import NewRows

MODELS = [
    ("qwen3", True),
    ("qwen3", False),
    ("llama", True),
    ("mistral", False),
    ("gemma", True),
    ("gemma2", True),
    ("gemma3_text", True),
    ("gpt2", True),
    ("gpt_neox", False),
    ("opt", True),
    ("phi", False),
    ("cohere", True),
]


def ground(model: Any, batches: list[list[int]], data: Any, rate: float, *, whole: bool, decay: float = 0.0) -> Any:
    """Train the new rows with plain torch; returns the losses."""
    corpus = cut_examples(*data, set(NEW_IDS.tolist()), whole=whole)
    collator = Collator(corpus, PAD)
    rows = NewRows(model, NEW_IDS)
    trained = GroundingModel(model, rows, corpus.heads)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=rate, weight_decay=decay)
    losses = []
    with rows.attached():
        for batch in batches:
            optimizer.zero_grad()
            loss, count = trained(**collator(batch))
            (loss / count).backward()
            optimizer.step()
            losses.append((loss / count).item())
    return losses


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_equals_algorithm_1(kind: str, tied: bool, whole: bool) -> None:
    data = examples_of(40)
    batches = [list(range(n % 5 * 8, n % 5 * 8 + 8)) for n in range(20)]
    reference, ours = model_of(kind, tied), model_of(kind, tied)
    before = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    expected = algorithm_1(reference, [[data[0][n] for n in batch] for batch in batches], 0.01)
    losses = ground(ours, batches, data, 0.01, whole=whole)
    assert losses == pytest.approx(expected, abs=1e-4)
    wanted = dict(reference.named_parameters())
    head = ours.get_output_embeddings()
    trained = {id(ours.get_input_embeddings().weight), id(head.weight), id(getattr(head, "bias", None))}
    for name, weight in ours.named_parameters():
        if id(weight) in trained:
            assert torch.equal(weight[:OLD], before[name][:OLD]), name
            assert (weight[OLD:] - wanted[name][OLD:]).abs().max() <= 1e-5, name
            assert not torch.equal(weight[OLD:], before[name][OLD:]), name
        else:
            assert torch.equal(weight, before[name]), name
