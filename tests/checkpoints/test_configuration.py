"""Number formats and kinds of attention that a configuration names and transformers answers with a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from gti_cli.checkpoints.configuration import (
    cache_argument,
    causal_class,
    check_number_formats,
    check_takes_cache,
    drop_missing_attention,
    load_config,
    read_config,
)
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.checkpoints.loading import load_model
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace

CPU = torch.device("cpu")


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dtype": "torch.bfloat16"}, "dtype 'torch.bfloat16' is not a known number format. Write \"bfloat16\" there."),
        ({"torch_dtype": "bf16"}, "torch_dtype 'bf16' is not a known"),
        ({"text_config": {"dtype": "torch.float16"}}, 'Write "float16" there.'),
        ({"dtype": {"": "float32", "text_config": "fp32"}}, "dtype 'fp32' is not a known"),
        ({"dtype": "int8"}, 'Write the format of the weights there: "float32", "float16" or "bfloat16"'),
        ({"dtype": 16}, "dtype 16 is not a known"),
    ],
)
def test_unknown_number_formats_are_named(
    fields: dict[str, Any], words: str, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_checkpoint()
    change(folder, **fields)
    for use in (
        lambda: load_model(str(folder), CPU, torch.float32),
        lambda: find_checkpoint(Workspace(tmp_path / "w"), str(folder), "extended", "gti extend"),
    ):
        with pytest.raises(InputError) as caught:
            use()
        assert words in str(caught.value) and "config.json" in str(caught.value)


@pytest.mark.parametrize("dtype", [None, "float32", "half", {"text_config": "bfloat16"}])
def test_known_number_formats_pass(dtype: Any) -> None:
    check_number_formats({"dtype": dtype, "torch_dtype": dtype, "vocab": {"dtype": 7}}, "here")


@pytest.mark.parametrize(
    "attention",
    ["flash_attention_2", "flash_attention_3", "flash_attention_9", "flex_attention", "someone/kernel", "paged|sdpa"],
)
def test_attention_that_is_not_here_is_replaced_with_a_note(
    attention: str,
    make_checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for version in (2, 3):
        monkeypatch.setattr(f"transformers.utils.is_flash_attn_{version}_available", lambda: False)
    folder = make_checkpoint()
    ids = torch.arange(5, 12)[None]
    with torch.no_grad():
        expected = load_model(str(folder), CPU, torch.float32)(input_ids=ids).logits
        change(folder, _attn_implementation=attention)
        model = load_model(str(folder), CPU, torch.float32)
        assert torch.equal(model(input_ids=ids).logits, expected)
    assert model.config._attn_implementation == "sdpa"
    said = " ".join(capsys.readouterr().err.split())
    assert f"asks for the attention '{attention}', which cannot run here; sdpa is used instead" in said
    load_model(str(folder), CPU, torch.float32)
    assert capsys.readouterr().err == ""  # once for a checkpoint


def test_a_configuration_to_write_asks_for_no_attention_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    wish = {"_attn_implementation": "flash_attention_2", "vocab_size": 3}
    for is_here in (True, False):
        monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda is_here=is_here: is_here)
        content: dict[str, Any] = {**wish, "text_config": {**wish}, "attn_implementation": "sdpa"}
        drop_missing_attention(content)
        left = wish if is_here else {"vocab_size": 3}
        assert content == {**left, "text_config": left, "attn_implementation": "sdpa"}


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flash_attention_2"])
def test_attention_that_is_here_stays(
    attention: str, make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: True)
    folder = make_checkpoint()
    change(folder, _attn_implementation=attention)
    assert load_config(str(folder))._attn_implementation == attention


@pytest.mark.parametrize(("content", "words"), [("{", "cannot be read as JSON"), ("[1]", "holds no JSON object")])
def test_unreadable_configurations(content: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=words):
        read_config(tmp_path)


@pytest.mark.parametrize("kind", ["rwkv", "mamba", "mamba2"])
def test_models_without_a_cache_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match=rf"^here: {kind} takes no key-value cache.*\. Take another\.$"):
        check_takes_cache(AutoConfig.for_model(kind), "here", "take another")


@pytest.mark.parametrize("kind", ["qwen3", "gpt2", "bert"])
def test_models_with_a_cache_pass(kind: str) -> None:
    config = AutoConfig.for_model(kind)
    check_takes_cache(config, "here", "")
    assert causal_class(config) is not None
    assert causal_class(AutoConfig.for_model("t5")) is None


def test_the_cache_by_its_names_in_all_versions() -> None:
    assert cache_argument(lambda input_ids, past_key_values=None: None) == "past_key_values"
    assert cache_argument(lambda input_ids, cache=None, **more: None) == "cache"
    assert cache_argument(lambda input_ids, cache_params=None, **more: None) is None
