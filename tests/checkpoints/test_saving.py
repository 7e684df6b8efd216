"""Saved checkpoints, against plain transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.checkpoints.new_tokens import NewTokens, read_new_tokens
from gti_cli.checkpoints.saving import save_checkpoint, save_tokenizer
from gti_cli.errors import InputError
from tests.support.models import make_model, make_tokenizer

NAMES = ["<a_0>", "<a_1>"]


def extended_tokenizer() -> tuple[Any, NewTokens]:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(NAMES)
    ids = np.asarray(tokenizer.convert_tokens_to_ids(NAMES))
    return tokenizer, NewTokens(NAMES, ids, np.zeros(2, np.int32), np.arange(2, dtype=np.int32))


def test_a_saved_checkpoint_loads_with_plain_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, tokens = extended_tokenizer()
    model = make_model(vocab_size=len(tokenizer))
    save_checkpoint(tmp_path / "new", model, tokenizer, tokens)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    assert AutoTokenizer.from_pretrained(tmp_path / "new").tokenize("<a_0>") == ["<a_0>"]
    assert not list((tmp_path / "new").glob("*.bin"))  # no pickled weights
    assert read_new_tokens(tmp_path / "new").ids.tolist() == tokens.ids.tolist()


def test_a_tokenizer_alone_writes_no_weights(tmp_path: Path) -> None:
    tokenizer, tokens = extended_tokenizer()
    save_tokenizer(tmp_path, tokenizer, tokens)
    assert read_new_tokens(tmp_path).names == NAMES
    assert (tmp_path / "tokenizer.json").is_file()
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_list_that_contradicts_the_tokenizer_is_not_written(tmp_path: Path) -> None:
    tokenizer, tokens = extended_tokenizer()
    swapped = NewTokens(NAMES, tokens.ids[::-1].copy(), tokens.levels, tokens.codes)
    with pytest.raises(InputError, match="other ids for '<a_0>', '<a_1>'"):
        save_tokenizer(tmp_path, tokenizer, swapped)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../../../evil", "/tmp/evil", ".."])
def test_a_chat_template_leaves_no_file_outside_the_checkpoint(tmp_path: Path, name: str) -> None:
    tokenizer, tokens = extended_tokenizer()
    tokenizer.chat_template = {"default": "{{ messages }}", name: "owned"}
    with pytest.raises(InputError, match="would be a file outside its folder"):
        save_tokenizer(tmp_path / "a" / "b", tokenizer, tokens)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    tokenizer.chat_template = {"default": "{{ messages }}", "tools": "plain"}
    save_tokenizer(tmp_path / "a" / "b", tokenizer, tokens)
    assert len(list(tmp_path.rglob("tools.jinja"))) == 1
