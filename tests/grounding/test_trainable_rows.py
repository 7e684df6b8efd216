"""New rows as parameters: values, gradients and replaced modules, against the model's own matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gti_cli.errors import InputError
from gti_cli.grounding.trainable_rows import EmbeddingWithRows, NewRows
from tests.support.grounding import MODELS, NEW_IDS, OLD, VOCAB, model_of


def test_nothing_stays_attached() -> None:
    model = model_of("qwen3")
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    rows = NewRows(model, NEW_IDS)
    with pytest.raises(KeyboardInterrupt), rows.attached():
        assert model.get_input_embeddings() is not embedding
        assert model.get_input_embeddings().weight is embedding.weight
        assert not any(name.endswith(("ids", "index")) for name in model.state_dict())
        raise KeyboardInterrupt
    assert model.get_input_embeddings() is embedding and model.get_output_embeddings() is head


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_logits_and_gradients_are_those_of_the_whole_matrix(kind: str, tied: bool) -> None:
    ids = torch.randint(3, VOCAB, (3, 7), generator=torch.Generator().manual_seed(0))
    targets = ids.flatten().roll(1)
    reference, model = model_of(kind, tied), model_of(kind, tied)
    head = reference.get_output_embeddings()
    expected = reference(input_ids=ids).logits
    functional.cross_entropy(expected.flatten(0, 1), targets).backward()
    rows = NewRows(model, NEW_IDS)
    with rows.attached():
        rows.head.positions = torch.arange(ids.numel())
        logits = model(input_ids=ids).logits
        functional.cross_entropy(logits[0], targets).backward()
    torch.testing.assert_close(logits[0], expected.flatten(0, 1), rtol=1e-5, atol=1e-5)
    pairs = [(rows.embedding, reference.get_input_embeddings().weight)]
    pairs += [] if rows.output is None else [(rows.output, head.weight)]
    pairs += [] if rows.bias is None else [(rows.bias, head.bias)]
    assert (rows.output is None) == tied
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.grad, theirs.grad[OLD:], rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


@given(st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=2, max_size=2), min_size=1, max_size=6))
def test_an_embedding_looks_new_ids_up_in_the_parameter(ids: list[list[int]]) -> None:
    matrix = torch.nn.Embedding(VOCAB, 4)
    rows: Any = torch.nn.Module()
    rows.ids, rows.embedding = NEW_IDS, torch.nn.Parameter(matrix.weight.detach()[NEW_IDS].clone())
    expected = matrix(torch.tensor(ids))
    found = EmbeddingWithRows(matrix.requires_grad_(False), rows)(torch.tensor(ids))
    assert torch.equal(found, expected)
    found.sum().backward()
    times = torch.bincount(torch.tensor(ids).flatten(), minlength=VOCAB)[OLD:]
    assert torch.equal(rows.embedding.grad, times.float()[:, None].expand(-1, 4))


def test_a_head_computes_at_chosen_positions_and_records_states() -> None:
    model = model_of("phi", False)
    rows = NewRows(model, NEW_IDS)
    head, hidden = rows.head, torch.randn(2, 5, 32)
    every = model.get_output_embeddings()(hidden)
    assert torch.equal(head(hidden), every)
    head.positions = torch.tensor([7, 0])
    torch.testing.assert_close(head(hidden)[0], every.flatten(0, 1)[[7, 0]])
    head.prepended = hidden[1, 1:2]
    torch.testing.assert_close(head(hidden)[0], every.flatten(0, 1)[[6, 7, 0]])
    head.record = True
    assert head(hidden).shape == (1, 0, VOCAB)
    assert torch.equal(head.recorded, hidden.flatten(0, 1)[[7, 0]])  # type: ignore[arg-type]
    head.reset()
    assert torch.equal(head(hidden), every) and head.recorded is None
    head.positions = torch.tensor([3])
    assert head(hidden).shape == (1, 1, VOCAB)  # `reset` also ends the recording
    assert set(rows.state_dict()) == {"embedding", "output", "bias"}


def test_rows_are_written_into_another_copy_in_its_number_format() -> None:
    model = model_of("phi", False)
    rows = NewRows(model, NEW_IDS)
    with torch.no_grad():
        for parameter in rows.parameters():
            parameter += 1
    copy = model_of("phi", False).to(torch.bfloat16)
    before = {name: weight.detach().clone() for name, weight in copy.named_parameters()}
    rows.write_into(copy)
    head = copy.get_output_embeddings()
    for matrix, ours in ((copy.get_input_embeddings().weight, rows.embedding), (head.weight, rows.output)):
        assert torch.equal(matrix[OLD:], ours.bfloat16())  # type: ignore[union-attr]
    assert torch.equal(head.bias[OLD:], rows.bias.bfloat16())  # type: ignore[union-attr]
    for name, weight in copy.named_parameters():
        old = OLD if len(weight) == VOCAB else len(weight)
        assert torch.equal(weight[:old], before[name][:old]), name
    assert not torch.equal(model.get_input_embeddings().weight[OLD:], rows.embedding)  # that takes `sync`
    rows.sync()
    assert torch.equal(model.get_input_embeddings().weight[OLD:], rows.embedding)


@pytest.mark.parametrize("tied", [True, False])
def test_matrices_are_copies_of_the_parameters(tied: bool) -> None:
    rows = NewRows(model_of("qwen3", tied), NEW_IDS)
    found = rows.matrices()
    assert list(found) == ([""] if tied else ["", "output_"])
    assert (found[""] == rows.embedding.detach().numpy()).all()
    found[""][:] = 0
    assert rows.embedding.abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_matrices_have_all_new_rows_where_only_some_train(tied: bool, dtype: torch.dtype) -> None:
    model = model_of("qwen3", tied).to(dtype)
    rows = NewRows(model, NEW_IDS[[7, 2]], NEW_IDS)
    with torch.no_grad():
        for parameter in rows.parameters():
            parameter += 1
    found = rows.matrices()
    assert list(found) == ([""] if tied else ["", "output_"]) and rows.trained()[""].shape == (2, 32)
    for name, module in (("", model.get_input_embeddings()), ("output_", model.get_output_embeddings())):
        expected = module.weight.detach()[OLD:].float().clone()
        expected[[7, 2]] += 1  # what trains is not in the model before `sync`
        assert name not in found or (found[name] == expected.numpy()).all()


def test_models_that_cannot_be_trained_row_by_row() -> None:
    model = model_of("qwen3")

    class Shifted(torch.nn.Embedding):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids) + 1

    shifted = Shifted(VOCAB, 32)
    model.set_input_embeddings(shifted)
    with pytest.raises(InputError, match="Qwen3ForCausalLM embeds tokens in a way"):
        NewRows(model, NEW_IDS)
    with pytest.raises(InputError, match="Qwen3Model has no language-model head"):
        NewRows(model.model, NEW_IDS)
    model.set_output_embeddings(torch.nn.Identity())
    with pytest.raises(InputError, match="has no language-model head"):
        NewRows(model, NEW_IDS)


@pytest.mark.parametrize("scale", [3.0, torch.tensor(3.1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_embedding_that_scales_does_so_with_new_rows_too(scale: Any, dtype: torch.dtype) -> None:
    class Scaled(torch.nn.Embedding):
        embed_scale = scale

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids) * (scale.to(dtype) if isinstance(scale, torch.Tensor) else scale)

    model = model_of("qwen3", False).to(dtype)
    scaled = Scaled(VOCAB, 32, dtype=dtype)
    model.set_input_embeddings(scaled)
    rows, ids = NewRows(model, NEW_IDS), torch.arange(VOCAB)
    with rows.attached():
        assert torch.equal(model.get_input_embeddings()(ids), scaled(ids))
