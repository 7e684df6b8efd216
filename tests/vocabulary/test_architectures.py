"""Extension by files against plain transformers: every architecture, tied and untied, one file and shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gti_cli.vocabulary.in_memory import add_tokens
from gti_cli.vocabulary.layout import find_layout
from gti_cli.vocabulary.new_rows import Extension
from gti_cli.vocabulary.streamed import extend_files
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from tests.support.models import make_tokenizer
from tests.support.vocabulary import KINDS, load, write_checkpoint

NAMES = [f"<a_{code}>" for code in range(7)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def extended(base: Path, target: Path, init: str = "random", **options: Any) -> Extension:
    layout = find_layout(base)
    assert layout is not None
    generator = torch.Generator().manual_seed(0)
    return extend_files(base, layout, target, make_tokenizer(), TokensToAdd(NAMES), init, generator, **options)


def outputs(model: Any, tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states (T, d) and logits (T, V)."""
    ids = tokenizer("A blue denim jacket with brass buttons", return_tensors="pt").input_ids
    with torch.no_grad():
        found = model(ids, output_hidden_states=True)
    return found.hidden_states[-1][0], found.logits[0]


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_as_resizing_the_loaded_model(kind: str, tied: bool, shards: bool, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base", kind, tied=tied, shards=shards)
    assert (len(list(base.glob("*.safetensors"))) > 1) == shards
    done = extended(base, tmp_path / "new")
    model, tokenizer = load(tmp_path / "new")
    reference, plain = load(base)
    expected = add_tokens(reference, plain, TokensToAdd(NAMES), "random", torch.Generator().manual_seed(0))
    assert sorted(p.name for p in (tmp_path / "new").glob("*.safetensors*")) == sorted(
        p.name for p in base.glob("*.safetensors*")
    )
    assert model.state_dict().keys() == reference.state_dict().keys()
    for name, weight in reference.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    assert (done.rows_before, done.rows) == (expected.rows_before, expected.rows)
    assert done.tokens.ids.tolist() == expected.tokens.ids.tolist() == tokenizer.convert_tokens_to_ids(NAMES)
    assert model.config.vocab_size == len(tokenizer) == done.rows
    assert done.metrics() == pytest.approx(expected.metrics())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_old_words_are_as_probable_as_before(kind: str, tied: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base", kind, tied=tied, dtype=dtype)
    extended(base, tmp_path / "new")
    model, tokenizer = load(tmp_path / "new")
    old_hidden, old_logits = outputs(*load(base))
    hidden, logits = outputs(model, tokenizer)
    assert logits.dtype == old_logits.dtype == dtype
    assert torch.equal(hidden, old_hidden)  # to the bit: the same weights in products of the same shape
    # The head's product is wider now and a BLAS may sum it in another order: equal to a rounding of its number format.
    largest = float(old_logits.abs().max())
    torch.testing.assert_close(
        logits[:, : old_logits.shape[1]], old_logits, rtol=0, atol=2 * largest * torch.finfo(dtype).eps
    )


def test_padded_vocabularies_and_heads_that_are_stored_though_tied(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = write_checkpoint(tmp_path / "base", "llama", reserve=3)
    # Copies, since safetensors 0.4 reads from the file later on, and writes below into the very same file.
    weights = {name: tensor.clone() for name, tensor in load_file(base / "model.safetensors").items()}
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    done = extended(base, tmp_path / "new")
    assert (done.rows, done.from_reserve, len(done.new_rows)) == (done.rows_before + 4, 3, 1)
    model, tokenizer = load(tmp_path / "new")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    old = weights["model.embed_tokens.weight"]
    size = len(tokenizer) - len(NAMES)
    assert torch.equal(model.get_input_embeddings().weight[:size], old[:size])
    # A stored head that differs is a matrix of its own, as transformers loads it.
    weights["lm_head.weight"] += 1
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    assert len(extended(base, tmp_path / "apart").new_rows) == 2
    model, _ = load(tmp_path / "apart")
    with torch.no_grad():
        apart = model.get_output_embeddings().weight.mean() - model.get_input_embeddings().weight.mean()
    assert apart > 0.5
