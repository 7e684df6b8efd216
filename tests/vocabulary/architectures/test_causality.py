"""Models that see later tokens are refused, and no others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from gti_cli.errors import InputError
from gti_cli.vocabulary.architectures import causality
from gti_cli.vocabulary.architectures.causality import check_causal, check_model_causal
from gti_cli.vocabulary.extend import extend
from tests.support.models import make_model, make_tokenizer
from tests.support.vocabulary import KINDS, write_words

# As published: the trial makes them small. The last ones are mixtures of experts, or of kinds of layers.
OTHERS = [
    "qwen2", "gemma3_text", "falcon", "bloom", "mpt", "gptj", "gpt_bigcode", "stablelm", "starcoder2", "olmo2",
    "cohere", "phi3", "smollm3", "ernie4_5", "mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3", "olmo3", "granitemoe",
]  # fmt: skip
SMALL_BERT = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_causal_models_pass_in_their_published_sizes(kind: str) -> None:
    state = torch.get_rng_state()
    assert check_causal(AutoConfig.for_model(kind), "here")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("kind", "fields", "flag"),
    [
        ("bert", {}, "is_decoder: False"),
        ("roberta", {}, "is_decoder: False"),
        ("electra", {}, "is_decoder: False"),
        ("llama", {"is_causal": False}, "is_causal: False"),
        ("qwen3", {"is_causal": False}, "is_causal: False"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention: True"),
    ],
)
def test_models_that_see_the_future_are_refused(kind: str, fields: dict[str, Any], flag: str) -> None:
    config = AutoConfig.for_model(kind, **fields)
    with pytest.raises(InputError) as caught:
        check_causal(config, "here")
    line = str(caught.value)
    assert f"here: {kind} as it is configured sees later tokens ({flag} in its configuration)" in line
    assert "Give a decoder-only language model" in line


def test_an_encoder_that_is_configured_as_a_decoder_passes() -> None:
    assert check_causal(AutoConfig.for_model("bert", is_decoder=True), "here")


def test_the_trial_is_right_about_the_model_that_it_stands_for() -> None:
    """The reference: the whole model, each token changed in turn."""
    for fields in ({"is_decoder": True}, {"is_decoder": False}):
        model = make_model("bert", 384, **fields)
        ids = torch.arange(10, 18)[None]
        with torch.no_grad():
            logits = model(input_ids=ids).logits
            leaks = False
            for place in range(1, 8):
                changed = ids.clone()
                changed[0, place] += 100
                leaks |= not torch.allclose(model(input_ids=changed).logits[0, :place], logits[0, :place], atol=1e-5)
        assert leaks != fields["is_decoder"]
        if leaks:
            with pytest.raises(InputError, match="sees later tokens"):
                check_causal(model.config, "here")
            with pytest.raises(InputError, match="sees later tokens"):
                check_model_causal(model, "here")
        else:
            assert check_causal(model.config, "here")
            check_model_causal(model, "here")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loaded_models_pass(dtype: torch.dtype) -> None:
    check_model_causal(make_model("mixtral", num_local_experts=4).to(dtype), "here")


def test_a_very_large_model_costs_no_more() -> None:
    sizes = {"hidden_size": 16384, "num_hidden_layers": 126, "num_attention_heads": 128, "num_key_value_heads": 8}
    config = AutoConfig.for_model("llama", intermediate_size=53248, vocab_size=128256, **sizes)
    start = time.perf_counter()
    assert check_causal(config, "here")
    assert time.perf_counter() - start < 5
    assert config.hidden_size == 16384 and config.num_hidden_layers == 126  # the configuration itself stays


def bert_folder(folder: Path) -> Path:
    tokenizer = make_tokenizer()
    make_model("bert", len(tokenizer), is_decoder=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_extend_refuses_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, words = bert_folder(tmp_path / "bert"), write_words(tmp_path)
    with pytest.raises(InputError, match="sees later tokens"):
        extend(str(base), tmp_path / "w", tokens=words, device="cpu")
    # Where no small model can be made, the loaded one is tried out.
    monkeypatch.setattr(causality, "_random_model", lambda _: 1 / 0)
    with pytest.raises(InputError, match="sees later tokens"):
        extend(str(base), tmp_path / "w", tokens=words, device="cpu")
    assert not (tmp_path / "w" / "extended").exists()


def test_what_could_not_be_tried_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(causality, "_random_model", lambda _: 1 / 0)
    base, words = bert_folder(tmp_path / "bert"), write_words(tmp_path)
    extend(str(base), tmp_path / "w", tokens=words, device="cpu", measure_effect=False)
    assert "nothing tells whether it sees later tokens" in " ".join(capsys.readouterr().err.split())
