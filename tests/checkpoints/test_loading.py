"""Loading tokenizers and models: what is refused, and with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gti_cli.checkpoints.configuration import load_config
from gti_cli.checkpoints.loading import load_model, load_tokenizer, translate_loading_errors
from gti_cli.errors import InputError
from tests.support.models import make_model, make_tokenizer

CPU = torch.device("cpu")


def test_truncated_weights(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded as a causal LM") as caught:
        load_model(str(folder), CPU, torch.float32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"note": ["a\ud800b"]}, r"base/tokenizer_config\.json: 'note' holds half of a character \('\\ud800', a lone"),
        ({"chat_template": "\udfff"}, r"'chat_template' holds half of a character \('\\udfff'"),
        ({"eos_token": "<\ud800>"}, r"'eos_token' holds half of a character \('\\ud800'"),
    ],
)
def test_half_a_character_in_a_tokenizer(
    make_checkpoint: Callable[..., Path], changes: dict[str, Any], said: str
) -> None:
    folder = make_checkpoint()
    (folder / "chat_template.jinja").unlink()
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"whole": "\U0001f600"} | changes))
    with pytest.raises(InputError, match=said):
        load_tokenizer(str(folder))


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_missing_weights_are_not_made_up(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint(name="a")
    edit_weights(folder, lambda tensors: tensors.pop("model.layers.0.mlp.down_proj.weight"))
    with pytest.raises(InputError, match=r"lacks the weights model\.layers\.0\.mlp\.down_proj\.weight\. Download"):
        load_model(str(folder), CPU, torch.float32)
    folder = make_checkpoint(tied=False, name="b")
    edit_weights(folder, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(InputError, match=r"elsewhere: the checkpoint lacks the weights lm_head\.weight\. Download"):
        load_model(str(folder), CPU, torch.float32, where="elsewhere")
    folder = make_checkpoint(name="c")
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] += 1
    config["layer_types"] = ["full_attention"] * config["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"lacks the weights model\.layers\.2\S* and 10 more"):
        load_model(str(folder), CPU, torch.float32)


def test_a_tensor_of_the_wrong_shape(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    name = "model.layers.0.mlp.down_proj.weight"
    edit_weights(folder, lambda tensors: tensors.update({name: tensors[name][:, 4:].contiguous()}))
    with pytest.raises(InputError, match=r"down_proj\.weight has the wrong shape: it is \(\d+, \d+\), the conf"):
        load_model(str(folder), CPU, torch.float32)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("stored", ["both", "embedding", "head"])
def test_either_copy_of_a_tied_matrix_is_enough(
    make_checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str], tied: bool, stored: str
) -> None:
    """Old versions of transformers wrote both; what is missing of an untied model is another thing."""
    folder = make_checkpoint(tied=tied)
    names = {"embedding": "model.embed_tokens.weight", "head": "lm_head.weight"}

    def keep(tensors: dict[str, torch.Tensor]) -> None:
        tensors.setdefault(names["head"], tensors[names["embedding"]].clone())
        if stored != "both":
            tensors.pop(names["head" if stored == "embedding" else "embedding"])

    edit_weights(folder, keep)
    capsys.readouterr()  # what saving said
    if tied or stored == "both":
        model: Any = load_model(str(folder), CPU, torch.float32)
        assert capsys.readouterr().err == ""
        # Before transformers 5.4 a model was untied where both are stored.
        assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    else:
        with pytest.raises(InputError, match="lacks the weights"):
            load_model(str(folder), CPU, torch.float32)


def test_a_missing_buffer_is_warned_of(make_checkpoint: Callable[..., Path], monkeypatch: Any, capsys: Any) -> None:
    from transformers import Qwen3ForCausalLM

    made = Qwen3ForCausalLM.__init__

    def with_buffer(self: Any, config: Any) -> None:
        made(self, config)
        self.register_buffer("scale", torch.ones(1))

    folder = make_checkpoint()
    monkeypatch.setattr(Qwen3ForCausalLM, "__init__", with_buffer)
    load_model(str(folder), CPU, torch.float32)
    assert "lacks 'scale'" in capsys.readouterr().err


def test_weights_that_transformers_cannot_convert(tmp_path: Path) -> None:
    """Experts that lie in files one by one, and are stacked on loading."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "moe_intermediate_size": 16, "num_attention_heads": 2}
    heads = {"num_key_value_heads": 1, "head_dim": 8}
    config = Qwen3MoeConfig(vocab_size=64, num_hidden_layers=1, num_experts=3, num_experts_per_tok=1, **sizes, **heads)
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path)
    load_model(str(tmp_path), CPU, torch.float32)
    name = "model.layers.0.mlp.experts.1.down_proj.weight"
    edit_weights(tmp_path, lambda tensors: tensors.pop(name))
    with pytest.raises(InputError, match="Download or copy the checkpoint again"):
        load_model(str(tmp_path), CPU, torch.float32)
    edit_weights(tmp_path, lambda tensors: tensors.update({name: torch.zeros(3, 5)}))
    with pytest.raises(InputError, match="Download or copy the checkpoint again") as caught:
        load_model(str(tmp_path), CPU, torch.float32)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_read(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(str(folder), CPU, torch.float32)


def test_tokenizer_without_pad_token(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).pad_token == "<|im_end|>"


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    make_model("llama").save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no tokenizer in this folder\. Save it .* tokenizer\.save_pretrained"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with pytest.raises(InputError, match="tokenizer"):  # which of the two is said depends on transformers
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(InputError, match="cannot be loaded as a tokenizer"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (
            "a causal LM",
            OSError("no such model\nand more"),
            "here: cannot be loaded as a causal LM: no such model. Give",
        ),
        ("a causal LM", KeyError("odd"), "cannot be loaded as a causal LM"),
        ("a causal LM", RuntimeError("size mismatch"), "its weights do not fit its configuration: size mismatch"),
        ("a tokenizer", RuntimeError("odd"), "cannot be loaded as a tokenizer: odd. Save it there"),
        ("a tokenizer", Exception("bare"), "cannot be loaded as a tokenizer: bare. Save it there"),
    ],
)
def test_errors_of_the_libraries_become_one_line(kind: str, error: Exception, message: str) -> None:
    with pytest.raises(InputError) as caught, translate_loading_errors("here", kind):
        raise error
    assert message in str(caught.value) and "and more" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), NotImplementedError("later"), TypeError("a bug")])
def test_errors_that_no_input_explains_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translate_loading_errors("here"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("known", [True, False])
def test_code_beside_a_model_is_never_run(
    make_checkpoint: Callable[..., Path], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal transformers would ask whether it may; nobody is asked here, and the answer is no."""
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda prompt="": asked.append(prompt) or "y")
    folder = make_checkpoint()
    mark = folder / "was-run"
    (folder / "code.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).write_text('')\nclass C: pass\n")
    for file, kinds in (
        ("config.json", {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.C"}),
        ("tokenizer_config.json", {"AutoTokenizer": [None, "code.C"]}),
    ):
        content = json.loads((folder / file).read_text())
        strange = {} if known else {"model_type": "strange"} if file == "config.json" else {"tokenizer_class": "C"}
        (folder / file).write_text(json.dumps({**content, "auto_map": kinds, **strange}))
    for load in (lambda: load_model(str(folder), CPU, torch.float32), lambda: load_tokenizer(str(folder))):
        with nullcontext() if known else pytest.raises(InputError):
            load()
    with nullcontext() if known else pytest.raises(InputError), translate_loading_errors(str(folder)):
        load_config(str(folder))
    assert not mark.exists() and not asked
