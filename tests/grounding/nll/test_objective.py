"""The objective against Algorithm 1 as the paper writes it, and the models that take no stored prefix."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.objective import GroundingModel, has_plain_cache
from gti_cli.grounding.trainable_rows import NewRows
from tests.support.grounding import MODELS, NEW_IDS, OLD, PAD, algorithm_1, examples_of, model_of


def train_rows(model: Any, batches: list[list[int]], data: Any, rate: float, *, whole: bool, decay: float = 0.0) -> Any:
    """Train the new rows with plain torch; returns the losses."""
    corpus = divide_examples(*data, set(NEW_IDS.tolist()), whole=whole)
    collator = Collator(corpus, PAD)
    rows = NewRows(model, NEW_IDS)
    trained = GroundingModel(model, rows, corpus.prefixes)
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
    losses = train_rows(ours, batches, data, 0.01, whole=whole)
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


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_weight_decay_moves_no_old_row(kind: str, tied: bool) -> None:
    data = examples_of(16)
    model = model_of(kind, tied)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    train_rows(model, [list(range(16))] * 5, data, 0.01, whole=False, decay=0.5)
    head = model.get_output_embeddings()
    trained = {id(model.get_input_embeddings().weight), id(head.weight), id(getattr(head, "bias", None))}
    for name, weight in model.named_parameters():
        old = OLD if id(weight) in trained else len(weight)
        assert torch.equal(weight[:old], before[name][:old]), name
        assert old == len(weight) or not torch.equal(weight[old:], before[name][old:]), name


def test_a_model_with_a_window_or_a_state_is_computed_whole() -> None:
    model = model_of("gemma2")
    assert has_plain_cache(model, 64) and not has_plain_cache(model, 65)
    assert has_plain_cache(model_of("qwen3"), 100_000)


HYBRIDS: list[tuple[str, dict[str, Any]]] = [
    ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    ("bamba", {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_chunk_size": 16, "attn_layer_indices": [1]}),
    ("mamba", {}),
]


@pytest.mark.parametrize(("kind", "more"), HYBRIDS)
def test_models_that_keep_a_state_are_computed_whole(kind: str, more: dict[str, Any]) -> None:
    data = examples_of(16)
    reference, ours = model_of(kind, **more), model_of(kind, **more)
    assert not has_plain_cache(ours, 64)
    batches = [list(range(8)), list(range(8, 16))] * 2
    expected = algorithm_1(reference, [[data[0][n] for n in batch] for batch in batches], 0.01)
    assert train_rows(ours, batches, data, 0.01, whole=True) == pytest.approx(expected, abs=1e-4)
    rows, wanted = (model.get_input_embeddings().weight for model in (ours, reference))
    assert (rows - wanted).abs().max() <= 1e-5


@pytest.mark.parametrize("whole", [False, True])
def test_batches_in_lockstep_run_the_model_equally_often_and_count_the_same(whole: bool) -> None:
    examples, templates, groups = examples_of(30)
    model = model_of("qwen3")
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, groups, set(NEW_IDS.tolist()), whole=whole)
    usual, lockstep = Collator(corpus, PAD), Collator(corpus, PAD, lockstep=True)
    both = [next(n for n, group in enumerate(groups) if group == wanted) for wanted in (0, 1)]
    runs: list[int] = []
    model.model.layers[0].register_forward_hook(lambda *_: runs.append(1))
    with rows.attached():
        counted = []
        for places in ([], [both[0]], [both[1]], both, list(range(30))):
            trained = GroundingModel(model, rows, corpus.prefixes)
            trained(**lockstep(both))  # prefixes are computed, and the rule is tried, once
            runs.clear()
            loss, count = trained(**lockstep(places))
            counted.append(len(runs))
            expected, number = trained(**usual(places))
            assert count == number and loss.item() == pytest.approx(expected.item(), abs=1e-4)
            gradients = [torch.autograd.grad(part, rows.embedding)[0] for part in (loss, expected)]
            assert torch.allclose(*gradients, atol=1e-5)
    assert len(set(counted)) == 1
