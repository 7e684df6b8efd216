"""Write a checkpoint's safetensors anew with some tensors grown, and everything else byte for byte as it was.

Tensors pass through in pieces of 4 MiB, so memory does not depend on the size of the model, and old rows keep their
bits because nothing computes with them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gti_cli.tensors.safetensors_rows import INDEX_FILE, METADATA, SINGLE_FILE, TensorPlace, read_header, read_metadata

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Growth:
    """How a tensor over the vocabulary grows.

    Attributes:
        height: rows (of a vector: numbers) that it shall have, at least as many as it has.
        ids: (n,) int64 rows to set, rising. values: (n, d) or (n,) what they become.
        filler: (d,) or (), what the appended rows become that ``ids`` does not name.
    """

    height: int
    ids: torch.Tensor
    values: torch.Tensor
    filler: torch.Tensor


def rewrite(
    source: Path, target: Path, growths: Mapping[str, Growth], dtype: torch.dtype | None = None
) -> dict[str, int]:
    """Write the safetensors of the folder ``source`` into ``target``, in the same layout (one file, or shards).

    Args:
        source, target: checkpoint folders. growths: by the names of the tensors that grow.
        dtype: store all floating-point tensors in this format (None: each as it is).

    Returns:
        ``tensors_copied`` and ``tensors_changed``, how many kept every byte and how many did not.
    """
    single = (source / SINGLE_FILE).is_file()
    shards = [SINGLE_FILE] if single else sorted(set(_index(source)["weight_map"].values()))
    counts = {"tensors_copied": 0, "tensors_changed": 0}
    total = 0
    for shard in shards:
        places = read_header(source / shard)
        touched = [name for name, place in places.items() if name in growths or _converted(place, dtype)]
        counts["tensors_changed"] += len(touched)
        counts["tensors_copied"] += len(places) - len(touched)
        if touched:
            total += _rewrite_file(source / shard, target / shard, places, growths, dtype)
        else:
            shutil.copyfile(source / shard, target / shard)
            total += sum(place.size for place in places.values())
    if not single:
        _write_index(source, target, growths, total)
    return counts


def _rewrite_file(
    source: Path, target: Path, places: dict[str, TensorPlace], growths: Mapping[str, Growth], dtype: torch.dtype | None
) -> int:
    """Write one file; returns the bytes of its tensors."""
    header: dict[str, Any] = {}
    if metadata := read_metadata(source):
        header[METADATA] = metadata
    ordered = sorted(places.values(), key=lambda place: (place.start, place.size))
    end = 0
    for place in ordered:
        shape = list(place.shape)
        if place.name in growths:
            shape[0] = growths[place.name].height
        stored = DTYPES[_stored_as(place, dtype)].itemsize if place.dtype in DTYPES else 0
        size = int(np.prod(shape, dtype=np.int64)) * stored if stored else place.size
        header[place.name] = {"dtype": _stored_as(place, dtype), "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format wants the numbers aligned
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for place in ordered:
            for piece in _pieces(place, growths.get(place.name), dtype):
                file.write(piece)
    return end


def _pieces(place: TensorPlace, growth: Growth | None, dtype: torch.dtype | None) -> Iterator[bytes]:
    """The bytes of one tensor as it shall be stored."""
    kind = _stored_as(place, dtype)
    if growth is None:
        yield from _converted_bytes(place, 0, place.size, kind)
        return
    old = place.shape[0]
    done = 0
    for row, value in zip(growth.ids.tolist(), growth.values, strict=True):
        if row >= old:
            break
        yield from _converted_bytes(place, done * place.row_bytes, row * place.row_bytes, kind)
        yield _bytes_of(value, kind)
        done = row + 1
    yield from _converted_bytes(place, done * place.row_bytes, old * place.row_bytes, kind)
    added = growth.ids >= old
    tail = growth.filler.expand(growth.height - old, *growth.values.shape[1:]).clone()
    tail[growth.ids[added] - old] = growth.values[added]
    yield _bytes_of(tail, kind)


def _converted_bytes(place: TensorPlace, first: int, last: int, kind: str) -> Iterator[bytes]:
    for piece in place.raw(first, last):
        if kind == place.dtype:
            yield piece
        else:
            yield _bytes_of(torch.frombuffer(bytearray(piece), dtype=DTYPES[place.dtype]), kind)


def _bytes_of(values: torch.Tensor, kind: str) -> bytes:
    flat = torch.empty(values.numel(), dtype=DTYPES[kind]).copy_(values.reshape(-1))
    data: bytes = flat.view(torch.uint8).numpy().tobytes()
    return data


def _converted(place: TensorPlace, dtype: torch.dtype | None) -> bool:
    return _stored_as(place, dtype) != place.dtype


def _stored_as(place: TensorPlace, dtype: torch.dtype | None) -> str:
    return place.dtype if dtype is None or place.dtype not in DTYPES else _NAMES[dtype]


def _index(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / INDEX_FILE).read_text("utf-8"))
    return found


def _write_index(source: Path, target: Path, growths: Mapping[str, Growth], total: int) -> None:
    index = _index(source)
    metadata = index.setdefault("metadata", {})
    metadata["total_size"] = total
    if "total_parameters" in metadata:
        places = {
            place.name: place
            for shard in set(index["weight_map"].values())
            for place in read_header(source / shard).values()
        }
        for name, growth in growths.items():
            added = growth.height - places[name].shape[0]
            metadata["total_parameters"] += added * int(np.prod(places[name].shape[1:], dtype=np.int64))
    (target / INDEX_FILE).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")
