"""The comparison of saved weights with those in memory finds a single bit, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.checkpoints.stored_weights import check_stored_weights
from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import read_tensors
from tests.support.models import make_model
from tests.support.vocabulary import KINDS, lm

EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_transformers_saves_passes(kind: str, tied: bool, tmp_path: Path) -> None:
    for dtype, size in ((torch.float32, "5GB"), (torch.bfloat16, "40KB")):
        model = lm(kind, 384, tied, dtype)
        folder = tmp_path / size
        model.save_pretrained(folder, max_shard_size=size)
        check_stored_weights(folder, model)


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe"])
def test_experts_that_are_stacked_in_memory_and_single_in_files(kind: str, tmp_path: Path) -> None:
    model = make_model(kind, 384, **EXPERTS)
    model.save_pretrained(tmp_path)
    stored = read_tensors(tmp_path)
    assert not stored.keys() <= model.state_dict().keys()  # else this test shows nothing
    check_stored_weights(tmp_path, model)
    name = next(name for name in stored if ".experts.1." in name)
    flip(stored[name].file, stored[name].start)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        check_stored_weights(tmp_path, model)


def flip(file: Path, place: int, bit: int = 1) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= bit
    file.write_bytes(data)


@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize(
    "tensor", ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"]
)
def test_one_bit(tensor: str, where: str, tmp_path: Path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    place = read_tensors(tmp_path)[tensor]
    flip(place.file, place.start if where == "first" else place.start + place.size - 1, 128)
    with pytest.raises(InputError, match="written with other numbers than the model has in memory") as caught:
        check_stored_weights(tmp_path, model)
    assert tensor in str(caught.value)


def test_not_a_number_is_compared_by_its_bits(tmp_path: Path) -> None:
    model = make_model()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    model.save_pretrained(tmp_path)
    check_stored_weights(tmp_path, model)


@pytest.mark.parametrize(
    "edit",
    [
        lambda tensors: tensors.pop("model.norm.weight"),
        lambda tensors: tensors.update({"model.norm.weight": tensors["model.norm.weight"].half()}),
        lambda tensors: tensors.update({"model.norm.weight": tensors["model.norm.weight"][None]}),
        lambda tensors: tensors.pop("model.embed_tokens.weight"),
    ],
    ids=["missing", "another format", "another shape", "a tied matrix is missing"],
)
def test_other_tensors(edit: Callable[[dict[str, torch.Tensor]], Any], tmp_path: Path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    edit(tensors)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError):
        check_stored_weights(tmp_path, model)


def test_every_saved_checkpoint_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    save = type(model).save_pretrained

    def damaged(self: Any, folder: Path) -> None:
        save(self, folder)
        place = read_tensors(folder)["model.norm.weight"]
        flip(place.file, place.start)

    monkeypatch.setattr(type(model), "save_pretrained", damaged)
    tokenizer: Any = None
    tokens: Any = None
    with pytest.raises(InputError, match=r"'model\.norm\.weight' was written with other numbers"):
        save_checkpoint(tmp_path / "new", model, tokenizer, tokens)
