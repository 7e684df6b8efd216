"""Finding the matrices with a row for each token, as transformers would load them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gti_cli.checkpoints.embeddings import concerns_token_rows, find_embeddings, say_if_not_tied
from gti_cli.errors import InputError
from tests.support.models import make_model

ARCHITECTURES = [
    "qwen3",
    "llama",
    "gemma3_text",
    "mistral",
    "phi3",
    "gpt2",
    "gpt_neox",
    "bloom",
    "falcon",
    "opt",
    "mamba",
]


def tiny(arch, tied):
    import transformers

    sizes = {"num_hidden_layers": 1, "vocab_size": 50, "hidden_size": 32, "tie_word_embeddings": tied}
    more = {"gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 1}, "opt": {"ffn_dim": 32, "word_embed_proj_dim": 32}}
    heads = {"num_attention_heads": 4, "intermediate_size": 32, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    config = transformers.AutoConfig.for_model(arch, **{**sizes, **heads, **more.get(arch, {})})
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_finds_the_matrices_of_every_architecture(tmp_path, arch, tied):
    model = tiny(arch, tied)
    model.save_pretrained(tmp_path)
    found = find_embeddings(tmp_path)
    ids = np.arange(50)
    expected_in = model.get_input_embeddings().weight.detach().numpy()
    expected_out = model.get_output_embeddings().weight.detach().numpy()
    assert np.array_equal(found.input.rows(ids), expected_in)
    if np.shares_memory(expected_in, expected_out):
        assert found.output is None
    else:
        assert found.output is not None
        assert np.array_equal(found.output.rows(ids), expected_out)


@pytest.mark.parametrize("said", [{"tie_word_embeddings": True}, {}])
def test_a_stored_head_of_a_tied_model_is_no_matrix_of_its_own(tmp_path, said):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 7, "hidden_size": 3, **said}))
    weights = torch.randn(7, 3)
    save_file({"model.embed_tokens.weight": weights, "lm_head.weight": weights.clone()}, tmp_path / "model.safetensors")
    assert find_embeddings(tmp_path).output is None


def test_a_stored_head_that_differs_from_a_tied_embedding_is_read_as_transformers_reads_it(tmp_path, capsys):
    from transformers import AutoModelForCausalLM

    from gti_cli.checkpoints.loading import load_model

    model = make_model(vocab_size=50, tied=False)
    with torch.no_grad():
        model.lm_head.weight[:] = model.model.embed_tokens.weight
        model.lm_head.weight[[3, 8]] += 1
    model.save_pretrained(tmp_path)
    assert say_if_not_tied(tmp_path) == 0  # the configuration says that they are two
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}), "utf-8")
    capsys.readouterr()
    assert say_if_not_tied(tmp_path) == say_if_not_tied(tmp_path) == 2
    warning = capsys.readouterr().err
    assert warning.count("the files store another head (2 rows differ). The stored head is used") == 1
    reference = AutoModelForCausalLM.from_pretrained(tmp_path).lm_head.weight.detach().numpy()
    assert not np.array_equal(reference, model.model.embed_tokens.weight.detach().numpy())
    assert np.array_equal(find_embeddings(tmp_path).output.rows(np.arange(50)), reference)
    # What is saved after loading says so itself, for older versions of transformers.
    load_model(str(tmp_path), torch.device("cpu"), "auto").save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text("utf-8"))["tie_word_embeddings"] is False
    assert say_if_not_tied(tmp_path / "absent") == 0


def test_tensors_of_an_adapter_that_belong_to_token_rows():
    prefix = "base_model.model."
    assert concerns_token_rows([f"{prefix}model.layers.0.x.weight", f"{prefix}lm_head.weight"])
    assert concerns_token_rows([f"{prefix}model.embed_tokens.token_adapter.trainable_tokens_delta"])
    assert not concerns_token_rows([f"{prefix}model.layers.0.self_attn.q_proj.lora_A.weight"])


def test_multimodal_checkpoints_and_unusual_names(tmp_path):
    config = {"text_config": {"vocab_size": 7, "hidden_size": 3}, "tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {
        "vision_tower.embeddings.weight": torch.zeros(7, 3),
        "model.layers.0.wq.weight": torch.zeros(3, 3),
        "model.vocabulary_table": torch.ones(7, 3),
        "lm_head.weight": torch.zeros(7, 3),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    found = find_embeddings(tmp_path)
    assert found.input.name == "model.vocabulary_table"
    assert found.output is not None
    save_file({"x.weight": torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="no input embedding"):
        find_embeddings(tmp_path)
