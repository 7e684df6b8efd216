"""Copy a checkpoint's safetensors while some tensors gain rows; all other bytes stay as they are.

Tensors are copied in pieces of 4 MiB, so memory does not depend on the size of the model. Pretrained rows keep their
bits, because no arithmetic touches them. Each written file is then read back and compared with what it was made from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import (
    INDEX_FILE,
    METADATA,
    SINGLE_FILE,
    TensorPlace,
    encode_header,
    read_header,
    read_metadata,
)

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Growth:
    """How a tensor with one row for each token changes.

    Attributes:
        height: Number of rows after the change, at least as many as before (of a vector: number of entries).
        ids: (n,) int64 in ascending order, the rows to set; they may be old or appended ones.
        values: (n, d) or (n,), the new content of these rows.
        filler: (d,) or (), the content of the appended rows that ``ids`` does not name.
    """

    height: int
    ids: torch.Tensor
    values: torch.Tensor
    filler: torch.Tensor


def rewrite(
    source: Path,
    target: Path,
    growths: Mapping[str, Growth],
    dtype: torch.dtype | None = None,
    names: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Write the safetensors of one folder into another, in the same layout (one file, or shards).

    Args:
        source: Checkpoint folder to read.
        target: Existing folder to write into.
        growths: For each tensor that changes, by its name in the written files, how it does.
        dtype: Number format in which all floating-point tensors are stored (None: each keeps its own).
        names: For each tensor to write, by its name in the source, its new name; the others are left out (None: all
            tensors keep their names).

    Returns:
        ``tensors_copied`` and ``tensors_changed``: how many tensors kept every byte, and how many did not.

    Raises:
        InputError: When a written file, read again, does not hold what it was made from.
    """
    single = (source / SINGLE_FILE).is_file()
    shards = [SINGLE_FILE] if single else sorted(set(_index(source)["weight_map"].values()))
    counts = {"tensors_copied": 0, "tensors_changed": 0}
    total = 0
    for shard in shards:
        places = _kept(read_header(source / shard), names)
        if names is not None and not places:
            continue
        changed = [name for name, place in places.items() if name in growths or _converted(place, dtype)]
        counts["tensors_changed"] += len(changed)
        counts["tensors_copied"] += len(places) - len(changed)
        if changed or names is not None:
            total += _rewrite_file(source / shard, target / shard, places, growths, dtype)
        else:
            shutil.copyfile(source / shard, target / shard)
            total += sum(place.size for place in places.values())
        _check_written(target / shard, places, growths, dtype)
    if not single:
        _write_index(source, target, growths, total, names)
    return counts


def _kept(places: dict[str, TensorPlace], names: Mapping[str, str] | None) -> dict[str, TensorPlace]:
    """Return the tensors of one file that are written, by their new names."""
    if names is None:
        return places
    return {names[old]: replace(place, name=names[old]) for old, place in places.items() if old in names}


def _check_written(
    file: Path, places: dict[str, TensorPlace], growths: Mapping[str, Growth], dtype: torch.dtype | None
) -> None:
    """Read a written file back, and compare each tensor with its source, as it was grown and converted.

    Raises:
        InputError: When a bit differs or a tensor is missing.
    """
    written = read_header(file)
    for place in places.values():
        stored = written.get(place.name)
        pieces = _pieces(place, growths.get(place.name), dtype)
        if stored is None or stored.dtype != _stored_as(place, dtype) or not stored.holds(pieces):
            raise InputError(
                f"tensor {place.name!r} was written with other bytes than were read from {place.file.name}",
                where=str(file),
                remedy="check the disk and its free space, then run the command again",
            )


def _rewrite_file(
    source: Path, target: Path, places: dict[str, TensorPlace], growths: Mapping[str, Growth], dtype: torch.dtype | None
) -> int:
    """Write one file, and return the number of bytes of its tensors."""
    header: dict[str, Any] = {}
    if metadata := read_metadata(source):
        header[METADATA] = metadata
    # The tensors keep the order in which their numbers lie in the source, so that it is read front to back.
    ordered = sorted(places.values(), key=lambda place: (place.start, place.size))
    end = 0
    for place in ordered:
        shape = list(place.shape)
        if place.name in growths:
            shape[0] = growths[place.name].height
        # Integers, booleans and quantized numbers never change: their size is the old one.
        itemsize = DTYPES[_stored_as(place, dtype)].itemsize if place.dtype in DTYPES else 0
        size = int(np.prod(shape, dtype=np.int64)) * itemsize if itemsize else place.size
        header[place.name] = {"dtype": _stored_as(place, dtype), "shape": shape, "data_offsets": [end, end + size]}
        end += size
    with target.open("wb") as file:
        file.write(encode_header(header))
        for place in ordered:
            for piece in _pieces(place, growths.get(place.name), dtype):
                file.write(piece)
    return end


def _pieces(place: TensorPlace, growth: Growth | None, dtype: torch.dtype | None) -> Iterator[bytes]:
    """Yield the bytes of one tensor in its new form."""
    stored_dtype = _stored_as(place, dtype)
    if growth is None:
        yield from _converted_bytes(place, 0, place.size, stored_dtype)
        return
    old_height = place.shape[0]
    # First the old rows: stretches that stay are copied, and the rows of `ids` among them (a padded vocabulary's
    # unused rows) are replaced. `copied` is the number of rows written so far.
    copied = 0
    for row, value in zip(growth.ids.tolist(), growth.values, strict=True):
        if row >= old_height:
            break
        yield from _converted_bytes(place, copied * place.row_bytes, row * place.row_bytes, stored_dtype)
        yield _bytes_of(value, stored_dtype)
        copied = row + 1
    yield from _converted_bytes(place, copied * place.row_bytes, old_height * place.row_bytes, stored_dtype)
    # Then the appended rows, which are few enough to build in memory.
    is_appended = growth.ids >= old_height
    appended = growth.filler.expand(growth.height - old_height, *growth.values.shape[1:]).clone()
    appended[growth.ids[is_appended] - old_height] = growth.values[is_appended]
    yield _bytes_of(appended, stored_dtype)


def _converted_bytes(place: TensorPlace, first: int, last: int, stored_dtype: str) -> Iterator[bytes]:
    """Yield the bytes ``first`` … ``last`` of a tensor, converted to ``stored_dtype``."""
    for piece in place.raw(first, last):
        if stored_dtype == place.dtype:
            yield piece
        else:
            yield _bytes_of(torch.frombuffer(bytearray(piece), dtype=DTYPES[place.dtype]), stored_dtype)


def _bytes_of(values: torch.Tensor, stored_dtype: str) -> bytes:
    """Encode numbers as ``stored_dtype``; the view as bytes also serves bfloat16, which numpy lacks."""
    flat = torch.empty(values.numel(), dtype=DTYPES[stored_dtype]).copy_(values.reshape(-1))
    data: bytes = flat.view(torch.uint8).numpy().tobytes()
    return data


def _converted(place: TensorPlace, dtype: torch.dtype | None) -> bool:
    return _stored_as(place, dtype) != place.dtype


def _stored_as(place: TensorPlace, dtype: torch.dtype | None) -> str:
    """Return the safetensors name of the format in which a tensor is written: only floating-point ones change."""
    return place.dtype if dtype is None or place.dtype not in DTYPES else _NAMES[dtype]


def _index(folder: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((folder / INDEX_FILE).read_text("utf-8"))
    return index


def _write_index(
    source: Path, target: Path, growths: Mapping[str, Growth], total: int, names: Mapping[str, str] | None
) -> None:
    """Write the index of the shards with the new totals; which tensor lies in which shard has not changed."""
    index = _index(source)
    if names is not None:
        index["weight_map"] = {names[old]: shard for old, shard in index["weight_map"].items() if old in names}
        index.get("metadata", {}).pop("total_parameters", None)  # it counts the tensors that are left out, too
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
