"""Adapters: they change nothing before they are trained, and merged they compute the same."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.training.lora import Adapters, projections
from tests.support.models import make_model


@pytest.mark.parametrize("kind", ["qwen3", "llama", "phi"])
def test_merged_into_a_copy_they_compute_the_same(kind: str) -> None:
    model, copy = make_model(kind, 100, tied=kind != "phi"), make_model(kind, 100, tied=kind != "phi")
    ids = torch.arange(24).view(2, 12)
    plain = model(ids).logits.detach()
    model.requires_grad_(False)
    adapters = Adapters(model, rank=4, alpha=16, dropout=0.5)
    assert torch.equal(model(ids).logits, plain)
    optimizer = torch.optim.AdamW(adapters.parameters(), lr=1e-2)
    adapters.train()
    for _ in range(3):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.equal(model(ids).logits, model(ids).logits)  # dropout
    adapters.eval()
    before = {name: value.clone() for name, value in copy.state_dict().items()}
    adapters.merge_into(copy)
    torch.testing.assert_close(copy(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(copy(ids).logits, plain, atol=1e-2)
    adapted = projections(copy)
    for name, value in copy.state_dict().items():
        assert torch.equal(value, before[name]) != (name.split(".")[-2] in adapted and name.endswith("weight")), name


def test_no_warning_that_only_peft_can_mend() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Adapters(make_model("llama", 100), rank=4, alpha=16, dropout=0.0)


def test_they_are_float32_beside_a_bfloat16_model() -> None:
    model = make_model("qwen3", 100).bfloat16().requires_grad_(False)
    adapters = Adapters(model, rank=2, alpha=4, dropout=0.0)
    assert {p.dtype for p in adapters.parameters()} == {torch.float32}
    model(input_ids=torch.arange(5)[None], labels=torch.arange(5)[None]).loss.backward()
    assert all(p.grad is not None for p in adapters.parameters())


def test_an_architecture_without_such_layers() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    gpt2: Any = GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(InputError, match="none of the layers of GPT2LMHeadModel"):
        projections(gpt2)
