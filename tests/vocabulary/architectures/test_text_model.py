"""The text model of a multimodal wrapper computes what the wrapper computes for words alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gti_cli.errors import InputError
from gti_cli.vocabulary.extend import extend
from tests.support.models import make_tokenizer
from tests.support.vocabulary import load, write_words

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2, "bos_token_id": None, "eos_token_id": 2,
    "pad_token_id": 0, "max_position_embeddings": 512,
}  # fmt: skip
CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3,
    "num_attention_heads": 2, "image_size": 16, "patch_size": 8, "projection_dim": 16,
}  # fmt: skip
SIGLIP = {**CLIP, "model_type": "siglip_vision_model"}
PIXTRAL = {"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8,
           "num_attention_heads": 2, "image_size": 16, "patch_size": 8}  # fmt: skip
QWEN = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4, "mlp_ratio": 2}
QWEN3 = {"depth": 1, "hidden_size": 16, "out_hidden_size": 32, "num_heads": 2, "patch_size": 4, "intermediate_size": 16,
         "deepstack_visual_indexes": [0], "num_position_embeddings": 16}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}

WRAPPERS = {
    "llava": ("LlavaForConditionalGeneration", {"model_type": "llama"}, CLIP, {}),
    "gemma3": ("Gemma3ForConditionalGeneration", {"model_type": "gemma3_text"}, SIGLIP, {"mm_tokens_per_image": 4}),
    "mistral3": ("Mistral3ForConditionalGeneration", {"model_type": "mistral"}, PIXTRAL, {}),
    "qwen2_vl": ("Qwen2VLForConditionalGeneration", {"rope_parameters": ROPE}, QWEN, {}),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", {"rope_parameters": ROPE}, QWEN3, {}),
}
TEXT_TYPE = {"llava": "llama", "gemma3": "gemma3_text", "mistral3": "mistral", "qwen2_vl": "qwen2", "qwen3_vl": "qwen3"}


def write_wrapper(folder: Path, kind: str, *, tied: bool, shards: bool = False, **more: Any) -> Any:
    """Write a tiny random wrapper with a tokenizer, and return it."""
    import transformers

    tokenizer = make_tokenizer()
    name, text, vision, fields = WRAPPERS[kind]
    text = {**SIZES, "vocab_size": len(tokenizer), "tie_word_embeddings": tied, **text, **more}
    config = transformers.AutoConfig.for_model(
        kind, text_config=text, vision_config=vision, tie_word_embeddings=tied, **fields
    )
    torch.manual_seed(0)
    model = getattr(transformers, name)(config).float().eval()
    model.save_pretrained(folder, max_shard_size="60KB" if shards else "5GB")
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    return model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", WRAPPERS)
def test_the_text_model_computes_what_the_wrapper_computes(
    kind: str, tied: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapper = write_wrapper(tmp_path / "base", kind, tied=tied, shards=tied)
    manifest = extend(str(tmp_path / "base"), tmp_path / "w", tokens=write_words(tmp_path), device="cpu")
    said = " ".join(capsys.readouterr().err.split())
    left_out = manifest.details["tensors_left_out"]
    assert (
        f"is a multimodal model ({kind}): its text model ({TEXT_TYPE[kind]}) is extended, and {left_out} tens" in said
    )
    assert manifest.details["text_model_of"] == kind and left_out > 3
    target = tmp_path / "w" / "extended"
    model, tokenizer = load(target)
    assert model.config.model_type == TEXT_TYPE[kind]
    assert not (target / "preprocessor_config.json").exists()
    ids = tokenizer("A blue denim jacket with brass buttons", return_tensors="pt").input_ids
    with torch.no_grad():
        expected, found = wrapper(input_ids=ids).logits, model(input_ids=ids).logits
    size = expected.shape[-1]
    assert found.shape[-1] == size + 3
    torch.testing.assert_close(found[..., :size], expected, rtol=1e-5, atol=1e-5)
    # And each stored number of the text model is one of the wrapper's.
    theirs = {weight.detach().numpy().tobytes() for weight in wrapper.parameters()}
    for name, weight in model.named_parameters():
        rows = weight.detach()[:size] if "embed" in name or "head" in name else weight.detach()
        assert rows.numpy().tobytes() in theirs, name


def test_a_wrapper_without_its_text_model(tmp_path: Path) -> None:
    write_wrapper(tmp_path / "base", "llava", tied=False)
    weights = load_file(tmp_path / "base" / "model.safetensors")
    name = next(name for name in weights if name.endswith("layers.1.mlp.up_proj.weight"))
    weights.pop(name)
    save_file(weights, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError) as caught:
        extend(str(tmp_path / "base"), tmp_path / "w", tokens=write_words(tmp_path), device="cpu")
    line = str(caught.value)
    assert "llava is a multimodal model, and its text model (llama) cannot be taken out of its files" in line
    assert "or the language model that this one was built on" in line


def test_a_text_model_that_sees_the_future(tmp_path: Path) -> None:
    write_wrapper(tmp_path / "base", "gemma3", tied=True, use_bidirectional_attention=True)
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    assert config["text_config"]["use_bidirectional_attention"]
    with pytest.raises(InputError, match=r"gemma3_text as it is configured sees later tokens \(use_bidirectional"):
        extend(str(tmp_path / "base"), tmp_path / "w", tokens=write_words(tmp_path), device="cpu")
