"""LoRA: which rows train, and that merging changes nothing that the model computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.recommendation.parameters.adapters import add_lora
from tests.support.models import make_model

NEW = np.array([5, 40, 41, 99])


def train_and_merge(adapted: Any, ids: torch.Tensor) -> Any:
    """The merged model after three steps, having compared what both compute."""
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    for _ in range(3):
        adapted(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapted.eval()
    with torch.no_grad():
        expected = adapted(input_ids=ids).logits
        merged = adapted.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
    return merged


@pytest.mark.parametrize(("kind", "tied"), [("qwen3", True), ("llama", False), ("llama", True)])
def test_merged_model_computes_what_the_adapted_one_did(kind: str, tied: bool) -> None:
    model = make_model(kind, 100, tied=tied)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted, rows = add_lora(model, NEW, rank=4, alpha=16, dropout=0.1)
    assert [tuple(row.shape) for row in rows] == [(4, 32)] * (1 if tied else 2)
    torch.manual_seed(0)
    ids = torch.cat([torch.tensor(NEW).expand(3, 4), torch.randint(100, (3, 12))], dim=1)
    merged = train_and_merge(adapted, ids)
    after = merged.state_dict()
    assert after.keys() == before.keys() and type(merged).__name__.endswith("ForCausalLM")
    old = np.setdiff1d(np.arange(100), NEW)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(after[name][old], before[name][old])
        assert (after[name][NEW] != before[name][NEW]).any(dim=1).all()
    assert (merged.get_input_embeddings().weight is merged.get_output_embeddings().weight) == tied
    projections = [name for name in before if name.endswith("_proj.weight")]
    assert len(projections) == 14 and all((after[name] != before[name]).any() for name in projections)


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
def test_a_head_with_a_bias_trains_its_new_rows_alone() -> None:
    model = make_model("phi", 100, tied=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert "lm_head.bias" in before
    ids = NEW.copy()
    ids.setflags(write=False)  # as a list of new tokens that was read from a file is
    adapted, rows = add_lora(model, ids, rank=4, alpha=16, dropout=0.0)
    assert sorted(tuple(row.shape) for row in rows) == [(4, 32), (100,), (100, 32)]
    torch.manual_seed(0)
    ids = torch.cat([torch.tensor(NEW).expand(3, 4), torch.randint(100, (3, 12))], dim=1)
    merged = train_and_merge(adapted, ids)
    after = merged.state_dict()
    assert after.keys() == before.keys()
    old = np.setdiff1d(np.arange(100), NEW)
    for name in ("model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"):
        assert torch.equal(after[name][old], before[name][old])
        assert (after[name][NEW] != before[name][NEW]).all()


def test_models_that_lora_cannot_train_are_refused() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    gpt2: Any = GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(InputError, match="none of the layers of GPT2LMHeadModel"):
        add_lora(gpt2, NEW, rank=2, alpha=4, dropout=0.0)
    with pytest.raises(InputError, match="it has a bias and shares its matrix"):
        add_lora(tied_with_bias(said=False), NEW, rank=2, alpha=4, dropout=0.0)


def tied_with_bias(*, said: bool) -> Any:
    """A model whose head has a bias and the embedding's matrix; ``said``: in its configuration."""
    model = make_model("llama", 100, tied=said)
    model.lm_head = torch.nn.Linear(32, 100, bias=True)
    model.lm_head.weight = model.model.embed_tokens.weight
    return model


def test_a_tied_head_with_a_bias_keeps_it() -> None:
    model = tied_with_bias(said=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert before["lm_head.bias"].abs().min() > 0
    torch.manual_seed(0)
    ids = torch.cat([torch.tensor(NEW).expand(3, 4), torch.randint(100, (3, 12))], dim=1)
    with torch.no_grad():
        plain = model(input_ids=ids).logits
    adapted, rows = add_lora(model, NEW, rank=4, alpha=16, dropout=0.0)
    assert [tuple(row.shape) for row in rows] == [(4, 32)]
    with torch.no_grad():
        torch.testing.assert_close(adapted(input_ids=ids).logits, plain)
    merged = train_and_merge(adapted, ids)
    after = merged.state_dict()
    assert after.keys() == before.keys()
    assert merged.get_input_embeddings().weight is merged.get_output_embeddings().weight
    old = np.setdiff1d(np.arange(100), NEW)
    assert torch.equal(after["lm_head.bias"], before["lm_head.bias"])
    assert torch.equal(after["lm_head.weight"][old], before["lm_head.weight"][old])
    assert (after["lm_head.weight"][NEW] != before["lm_head.weight"][NEW]).any(dim=1).all()
