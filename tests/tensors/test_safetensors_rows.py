import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import read_header, read_metadata, read_tensors


def matrix(dtype, rows=11, width=5):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_rows_are_those_that_torch_reads(tmp_path, dtype):
    wanted = matrix(dtype)
    save_file({"other": matrix(dtype, 3), "m": wanted}, tmp_path / "x.safetensors", metadata={"format": "pt"})
    place = read_header(tmp_path / "x.safetensors")["m"]
    assert place.shape == (11, 5)
    ids = [3, 4, 5, 0, 10, 4]
    assert np.array_equal(place.rows(ids), wanted[ids].float().numpy())
    assert place.rows([]).shape == (0, 5)
    with pytest.raises(IndexError):
        place.rows([11])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10)), st.integers(1, 12))
def test_blocks_cover_all_ids_in_order(tmp_path_factory, ids, size):
    folder = tmp_path_factory.mktemp("rows")
    save_file({"m": matrix(torch.float32)}, folder / "x.safetensors")
    place = read_header(folder / "x.safetensors")["m"]
    blocks = list(place.blocks(np.asarray(ids, dtype=np.int64), size))
    assert [i for part, _ in blocks for i in part.tolist()] == ids
    assert all(len(part) <= size and np.array_equal(rows, place.rows(part)) for part, rows in blocks)


def test_long_runs_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("gti_cli.tensors.safetensors_rows._PIECE", 40)
    wanted = matrix(torch.float32)
    save_file({"m": wanted}, tmp_path / "x.safetensors")
    assert np.array_equal(read_header(tmp_path / "x.safetensors")["m"].rows(np.arange(11)), wanted.numpy())


@given(st.integers(0, 220), st.integers(0, 220), st.integers(1, 64))
def test_raw_bytes_are_those_of_the_file(tmp_path_factory, one, other, piece):
    file = tmp_path_factory.mktemp("raw") / "x.safetensors"
    save_file({"m": matrix(torch.float32), "flags": torch.tensor([True, False])}, file, metadata={"format": "pt"})
    place = read_header(file)["m"]
    whole = matrix(torch.float32).numpy().tobytes()
    first, last = sorted((one, other))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gti_cli.tensors.safetensors_rows._PIECE", piece)
        assert b"".join(place.raw(first, last)) == whole[first:last]
        assert b"".join(place.raw()) == whole
    assert b"".join(read_header(file)["flags"].raw()) == b"\x01\x00"
    assert read_metadata(file) == {"format": "pt"}


def test_a_file_cut_while_it_is_read(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"m": matrix(torch.float32)}, file)
    place = read_header(file)["m"]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="ends inside tensor 'm'"):
        list(place.raw())


def test_truncated_at_any_byte_is_one_clear_error(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"m": matrix(torch.float32)}, file)
    data = file.read_bytes()
    for length in (0, 4, 8, 20, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(InputError, match="truncated"):
            read_header(file)


@pytest.mark.parametrize(
    "header",
    [
        b"not json at all",
        b"[]",
        b'{"m": {"dtype": "F32"}}',
        b'{"m": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 8]}}',
        b'{"m": {"dtype": "F32", "shape": [1, 2], "data_offsets": [-8, 0]}}',
        b'{"m": 3}',
        b'{"m": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}',  # 2^64 numbers, mod 2^64
        b'{"m": {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}}',
        b'{"m": {"dtype": "F32", "shape": [1e400], "data_offsets": [0, 16]}}',
        b"[" * 200_000,
    ],
)
def test_damaged_headers(tmp_path, header):
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(InputError, match=r"header|shape"):
        read_header(file)


def test_quantized_numbers_are_refused(tmp_path):
    save_file({"m": torch.zeros(2, 2, dtype=torch.int8)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="quantized"):
        read_header(tmp_path / "x.safetensors")["m"].rows([0])


def write_sharded(folder, weight_map):
    save_file({"a": matrix(torch.float32)}, folder / "s1.safetensors")
    save_file({"b": matrix(torch.float32, 2)}, folder / "s2.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards(tmp_path):
    write_sharded(tmp_path, {"a": "s1.safetensors", "b": "s2.safetensors"})
    found = read_tensors(tmp_path)
    assert found["b"].file.name == "s2.safetensors"
    assert found["a"].file.name == "s1.safetensors"
    assert found["b"].shape == (2, 5)


def test_one_file_wins_over_shards_as_in_transformers(tmp_path):
    write_sharded(tmp_path, {"a": "s1.safetensors", "b": "s2.safetensors"})
    save_file({"whole": matrix(torch.float32)}, tmp_path / "model.safetensors")
    assert list(read_tensors(tmp_path)) == ["whole"]


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../s1.safetensors"}, "outside the folder"),
        ({"a": "absent.safetensors"}, "cannot be read"),
        ({"c": "s1.safetensors"}, "no shard holds"),
        (None, "weight_map"),
    ],
)
def test_bad_shard_lists(tmp_path, weight_map, message):
    write_sharded(tmp_path, weight_map)
    with pytest.raises(InputError, match=message):
        read_tensors(tmp_path)


def test_folders_without_safetensors(tmp_path):
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        read_tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="never unpickles"):
        read_tensors(tmp_path)


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=4), st.integers(-1, 39))
def test_holds_compares_every_byte_however_the_pieces_are_cut(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[int], changed: int
) -> None:
    folder = tmp_path_factory.mktemp("holds")
    tensor = torch.tensor(list(data), dtype=torch.uint8)
    save_file({"a": tensor, "b": torch.arange(9, dtype=torch.uint8)}, folder / "model.safetensors")
    expected = bytearray(data)
    if 0 <= changed < len(data):
        expected[changed] ^= 16
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [bytes(expected[a:b]) for a, b in itertools.pairwise(edges)]
    place = read_tensors(folder)["a"]
    assert place.holds(pieces) == (bytes(expected) == data)
    assert not place.holds([*pieces, b"more"])
    assert not data or not place.holds([data[:-1]])
