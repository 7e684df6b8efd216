from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gti_cli.errors import InputError
from gti_cli.tensors import rewrite as rewrite_module
from gti_cli.tensors.rewrite import Growth, rewrite

INDEX = "model.safetensors.index.json"


def tensors(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "embed": torch.randn(7, 3, generator=generator).to(dtype),
        "bias": torch.randn(7, generator=generator).to(dtype),
        "block": torch.randn(4, 5, generator=generator).to(dtype),
        "steps": torch.arange(6),
        "flags": torch.tensor([True, False, True]),
    }


def growth(height: int, ids: list[int], width: int | None) -> Growth:
    shape = (len(ids),) if width is None else (len(ids), width)
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(shape, generator=generator)
    return Growth(height, torch.tensor(ids, dtype=torch.int64), values, torch.full(shape[1:], 9.0))


def grown(old: torch.Tensor, change: Growth) -> torch.Tensor:
    """By torch, in memory."""
    rest = change.filler.to(old.dtype).expand(change.height - len(old), *old.shape[1:])
    whole = torch.cat([old, rest])
    whole[change.ids] = change.values.to(old.dtype)
    return whole


@given(
    st.lists(st.integers(0, 12), unique=True, min_size=1).map(sorted),
    st.integers(0, 4),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    st.integers(1, 40),
)
def test_grows_as_torch_does_and_copies_the_rest(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], more: int, dtype: torch.dtype, piece: int
) -> None:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    old = tensors(dtype)
    save_file(old, source / "model.safetensors", metadata={"format": "pt"})
    height = max(7, ids[-1] + 1) + more
    changes = {"embed": growth(height, ids, 3), "bias": growth(height, ids, None)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gti_cli.tensors.safetensors_rows._PIECE", 8 * piece)
        assert rewrite(source, target, changes) == {"tensors_copied": 3, "tensors_changed": 2}
    new = load_file(target / "model.safetensors")
    assert new.keys() == old.keys()
    for name, weight in old.items():
        expected = grown(weight, changes[name]) if name in changes else weight
        assert new[name].dtype == weight.dtype
        assert torch.equal(new[name], expected), name
    with safe_open(target / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_not_a_number_of_the_old_ones_changes(tmp_path: Path) -> None:
    """Bits, not values: a NaN with a payload and a minus zero stay."""
    odd = torch.tensor([[0x7FC1, -0x8000], [1, 2]], dtype=torch.int16).view(torch.bfloat16)
    save_file({"embed": odd}, tmp_path / "model.safetensors")
    target = tmp_path / "new"
    target.mkdir()
    rewrite(tmp_path, target, {"embed": growth(3, [2], 2)})
    found = load_file(target / "model.safetensors")["embed"]
    assert torch.equal(found[:2].view(torch.int16), odd.view(torch.int16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_number_format(tmp_path: Path, dtype: torch.dtype) -> None:
    old = tensors(torch.float16)
    save_file(old, tmp_path / "model.safetensors")
    target = tmp_path / "new"
    target.mkdir()
    change = growth(9, [3, 8], 3)
    counts = rewrite(tmp_path, target, {"embed": change}, dtype)
    assert counts == {"tensors_copied": 2, "tensors_changed": 3}
    new = load_file(target / "model.safetensors")
    assert torch.equal(new["embed"], grown(old["embed"].to(dtype), change))
    assert torch.equal(new["block"], old["block"].to(dtype))
    assert torch.equal(new["steps"], old["steps"])


def test_shards_stay_shards(tmp_path: Path) -> None:
    old = tensors()
    shards = {"model-1.safetensors": ["embed", "bias"], "model-2.safetensors": ["block", "steps", "flags"]}
    for file, names in shards.items():
        save_file({name: old[name] for name in names}, tmp_path / file)
    index = {
        "metadata": {"total_size": 1, "total_parameters": 57},
        "weight_map": {name: file for file, names in shards.items() for name in names},
    }
    (tmp_path / INDEX).write_text(json.dumps(index))
    target = tmp_path / "new"
    target.mkdir()
    change = growth(10, [7, 8, 9], 3)
    rewrite(tmp_path, target, {"embed": change})
    assert torch.equal(load_file(target / "model-1.safetensors")["embed"], grown(old["embed"], change))
    untouched = "model-2.safetensors"
    assert (target / untouched).read_bytes() == (tmp_path / untouched).read_bytes()
    written = json.loads((target / INDEX).read_text())
    assert written["weight_map"] == index["weight_map"]
    files = [load_file(target / file) for file in shards]
    assert written["metadata"] == {
        "total_size": sum(t.numel() * t.itemsize for file in files for t in file.values()),
        "total_parameters": 57 + 9,
    }


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("grown_tensor", ["embed", None])
@pytest.mark.parametrize("place", [-1, -40])
def test_a_bit_that_was_written_wrong_is_found(
    grown_tensor: str | None, place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the file was copied as a whole or written tensor by tensor."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    save_file(tensors(), source / "model.safetensors")
    changes = {grown_tensor: growth(9, [7], 3)} if grown_tensor else {}
    rewrite(source, target, changes)
    write, copy = rewrite_module._rewrite_file, rewrite_module.shutil.copyfile

    def write_wrongly(*arguments: Any) -> Any:
        total = write(*arguments)
        flip(arguments[1], place)
        return total

    def copy_wrongly(old: Path, new: Path) -> None:
        copy(old, new)
        flip(new, place)

    monkeypatch.setattr(rewrite_module, "_rewrite_file", write_wrongly)
    monkeypatch.setattr(rewrite_module.shutil, "copyfile", copy_wrongly)
    with pytest.raises(InputError, match=r"was written with other bytes than were read from model\.safetensors"):
        rewrite(source, target, changes)


@pytest.mark.parametrize("shards", [True, False])
def test_named_tensors_alone_are_written_under_their_new_names(shards: bool, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    old = tensors()
    if shards:
        files = {"a.safetensors": ["embed", "steps"], "b.safetensors": ["bias", "block"], "c.safetensors": ["flags"]}
        for file, names in files.items():
            save_file({name: old[name] for name in names}, source / file)
        weight_map = {name: file for file, names in files.items() for name in names}
        metadata = {"total_size": 1, "total_parameters": 1}
        (source / INDEX).write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))
    else:
        save_file(old, source / "model.safetensors")
    change = growth(9, [7], 3)
    counts = rewrite(source, target, {"new.embed": change}, names={"embed": "new.embed", "block": "new.block"})
    assert counts == {"tensors_copied": 1, "tensors_changed": 1}
    written = {}
    for file in target.glob("*.safetensors"):
        written.update(load_file(file))
    assert written.keys() == {"new.embed", "new.block"}
    assert torch.equal(written["new.block"], old["block"])
    assert torch.equal(written["new.embed"], grown(old["embed"], change))
    if shards:
        index = json.loads((target / INDEX).read_text())
        assert index["weight_map"] == {"new.embed": "a.safetensors", "new.block": "b.safetensors"}
        assert index["metadata"] == {"total_size": 9 * 3 * 4 + 4 * 5 * 4}
        assert not (target / "c.safetensors").exists()
