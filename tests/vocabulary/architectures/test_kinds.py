"""Models that are no causal language model are named as what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.vocabulary.architectures.kinds import check_kind, is_wrapper
from tests.support.vocabulary import KINDS, write_words


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("t5", {}, "t5 is an encoder-decoder"),
        ("bart", {}, "bart is an encoder-decoder"),
        ("whisper", {}, "whisper is an encoder-decoder"),
        ("distilbert", {}, "distilbert is an encoder (a masked language model) and no causal language model"),
        ("mamba", {}, "mamba takes no key-value cache (state-space models such as Mamba have none)"),
        ("rwkv", {}, "rwkv takes no key-value cache"),
        ("vit", {}, "vit is a model of another kind"),
    ],
)
def test_other_kinds_are_named_with_what_to_give_instead(kind: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        check_kind(AutoConfig.for_model(kind, **fields), "here")
    assert words in str(caught.value) and str(caught.value).startswith("here: ")
    assert "Give a decoder-only language model, such as Qwen/Qwen3-0.6B" in str(caught.value)


@pytest.mark.parametrize("kind", [*KINDS, "gemma3_text", "mixtral", "gpt_oss", "falcon", "bloom", "qwen3_next"])
def test_causal_language_models_pass(kind: str) -> None:
    config = AutoConfig.for_model(kind)
    check_kind(config, "here")
    assert not is_wrapper(config)


@pytest.mark.parametrize("kind", ["llava", "gemma3", "qwen2_vl", "git", "phi4_multimodal"])
def test_wrappers_are_told_from_plain_models(kind: str) -> None:
    config = AutoConfig.for_model(kind)
    assert is_wrapper(config)
    check_kind(config, "here")


def test_the_command_refuses_before_it_reads_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    AutoConfig.for_model("t5").save_pretrained(tmp_path / "t5")
    words = write_words(tmp_path)
    arguments = ["extend", "--model", str(tmp_path / "t5"), "--tokens", str(words), "-w", str(tmp_path / "w")]
    assert run(arguments) == 2
    assert "t5 is an encoder-decoder" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "w" / "extended").exists()
