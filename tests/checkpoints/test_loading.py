"""Finding, loading and saving checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gti_cli.checkpoints.loading import check_same_ids, find_checkpoint, load_model, load_tokenizer
from gti_cli.checkpoints.new_tokens import NewTokens, code_ids
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.models import make_model, make_tokenizer

CPU = torch.device("cpu")


def new_tokens(tokenizer: object) -> NewTokens:
    names = ["<a_0>", "<a_1>"]
    tokenizer.add_tokens(names)  # type: ignore[attr-defined]
    ids = np.asarray(tokenizer.convert_tokens_to_ids(names))  # type: ignore[attr-defined]
    return NewTokens(names, ids, np.zeros(2, np.int32), np.arange(2, dtype=np.int32))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a checkpoint ``extended``."""
    space = Workspace(tmp_path / "w")
    with space.stage("extend", "extended", ["extended"], options={}, checkpoint=True) as run:
        tokenizer = make_tokenizer()
        tokens = new_tokens(tokenizer)
        save_checkpoint(run.path("extended"), make_model(vocab_size=len(tokenizer)), tokenizer, tokens)
        run.details["semantic_ids"] = "one"
    return space


def test_default_name_and_path_are_the_same_checkpoint(workspace: Workspace) -> None:
    default = find_checkpoint(workspace, None, "extended", "gti extend")
    named = find_checkpoint(workspace, "extended", "other", "gti extend")
    by_path = find_checkpoint(workspace, str(workspace.path("extended")), "other", "gti extend")
    assert default == named == by_path
    assert list(default.upstream()) == ["extended"]
    assert default.inputs() == {}
    assert default.new_tokens().names == ["<a_0>", "<a_1>"]


def test_folder_elsewhere_is_an_input(workspace: Workspace, make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    found = find_checkpoint(workspace, str(folder), "extended", "gti extend")
    assert found.manifest is None
    assert found.inputs() == {"checkpoint": str(folder)}
    with pytest.raises(InputError, match="no new tokens"):
        found.new_tokens()
    elsewhere = find_checkpoint(Workspace(workspace.root.parent / "v"), str(workspace.path("extended")), "x", "y")
    assert elsewhere.manifest is not None
    assert elsewhere.artifact is None


def test_hub_name_is_asked_for_on_the_hub(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no such checkpoint, folder or hub model.*holds extended"):
        find_checkpoint(workspace, "some-org/some-model", "extended", "gti extend")
    asked = []
    monkeypatch.setattr("gti_cli.checkpoints.loading.require_on_hub", lambda name, _: asked.append(name))
    found = find_checkpoint(workspace, "some-org/some-model", "extended", "gti extend")
    assert not found.local and asked == ["some-org/some-model"]
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(found.path, CPU, torch.float32)


@pytest.mark.parametrize("given", ["./absent", "/absent/folder", "a/b/c"])
def test_absent_folder(workspace: Workspace, given: str) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_checkpoint(workspace, given, "extended", "gti extend")


def test_what_is_no_checkpoint(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        find_checkpoint(workspace, str(tmp_path / "folder"), "extended", "gti extend")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file"):
        find_checkpoint(workspace, str(tmp_path / "file"), "extended", "gti extend")
    with pytest.raises(InputError, match="Run 'gti ground' first"):
        find_checkpoint(workspace, None, "grounded", "gti ground")


def test_other_semantic_ids_are_refused(workspace: Workspace) -> None:
    def ids_manifest(text: str) -> object:
        with workspace.stage("b", "ids", ["ids.txt"], options={"text": text}, force=True) as run:
            run.path("ids.txt").write_text(text)
            run.details["identity"] = text
        return run.result()

    checkpoint = find_checkpoint(workspace, None, "extended", "gti extend")
    check_same_ids(checkpoint, ids_manifest("one"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="other semantic IDs"):
        check_same_ids(checkpoint, ids_manifest("two"))  # type: ignore[arg-type]


def test_truncated_weights(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded as a causal LM") as caught:
        load_model(str(folder), CPU, torch.float32)
    assert "\n" not in str(caught.value)


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
    if tied or stored == "both":
        load_model(str(folder), CPU, torch.float32)
        assert capsys.readouterr().err == ""
    else:
        with pytest.raises(InputError, match="lacks the weights"):
            load_model(str(folder), CPU, torch.float32)


def test_a_missing_buffer_is_told(make_checkpoint: Callable[..., Path], monkeypatch: Any, capsys: Any) -> None:
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


def test_saved_checkpoint_loads_with_plain_transformers(workspace: Workspace) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = workspace.path("extended")
    plain = AutoModelForCausalLM.from_pretrained(path)
    ours = load_model(str(path), CPU, torch.float32)
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert AutoTokenizer.from_pretrained(path).tokenize("<a_0>") == ["<a_0>"]


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


def test_codes_are_found_behind_words_that_were_added_later(workspace: Workspace) -> None:
    first = find_checkpoint(workspace, None, "extended", "gti extend")
    assert first.item_tokens().names == first.new_tokens().names
    tokenizer = load_tokenizer(first.path)
    tokenizer.add_tokens(["<palluse>"])
    word = np.asarray(tokenizer.convert_tokens_to_ids(["<palluse>"]))
    later = NewTokens(["<palluse>"], word, np.full(1, -1, np.int32), np.full(1, -1, np.int32))
    folder = workspace.root / "words"
    save_checkpoint(folder, make_model(vocab_size=len(tokenizer)), tokenizer, later)
    found = find_checkpoint(workspace, str(folder), "extended", "gti extend")
    assert found.new_tokens().names == ["<palluse>"]
    both = found.item_tokens()
    assert both.names == ["<a_0>", "<a_1>", "<palluse>"] and both.levels.tolist() == [0, 0, -1]
    assert both.ids.tolist() == tokenizer.convert_tokens_to_ids(both.names)
    assert [part.tolist() for part in code_ids(both, [2])] == [both.ids[:2].tolist()]
