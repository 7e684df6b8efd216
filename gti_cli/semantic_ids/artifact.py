"""The files of the artifact ``semantic_ids``: IDs, codebooks, items, embeddings, and the state that --reuse needs.

These functions write into a folder that the workspace renames when it is complete, so no file needs a temporary name of
its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.checkpoints.token_names import LC_REC, all_names, boundary_tokens, token_name
from gti_cli.errors import InputError
from gti_cli.semantic_ids.catalogue import Catalogue, string_columns
from gti_cli.semantic_ids.quantizers.residual_codes import blocks
from gti_cli.tables import BlockTable
from gti_cli.tables.arrays.string_column import string_array
from gti_cli.tables.text_types import text_column
from gti_cli.tensors.vector_file import VectorFile, VectorRows, write_vectors

if TYPE_CHECKING:
    import pyarrow as pa

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]

NAME = "semantic_ids"
IDS, CODEBOOKS, ITEMS, EMBEDDINGS = (
    "semantic_ids.parquet",
    "codebooks.safetensors",
    "items.parquet",
    "embeddings.safetensors",
)
FILES = (IDS, CODEBOOKS, ITEMS, EMBEDDINGS)
HISTORY = "rqvae_history.parquet"  # Written with --quantizer rq-vae.
REUSE = "reuse.safetensors"  # What --reuse needs beyond the codebooks: the fitted LSA, the RQ-VAE's weights.
SAME_AS = "same_as"
_PART = 1 << 15  # rows of a table that are made and written at a time


def write_ids(path: Path, item_ids: Sequence[str], codes: Codes, style: str = LC_REC) -> None:
    """Write ``semantic_ids.parquet`` with the columns item_id, codes (list of int32) and tokens.

    Args:
        path: The file.
        item_ids: N ids.
        codes: (N, L), N > 0.
        style: Style of the token names: ``lc-rec`` or ``onerec``.
    """
    ids = string_array(item_ids)
    parts = ({"item_id": ids[part], **_code_columns(codes[part], style)} for part in blocks(len(codes), _PART))
    tables.write_parts(path, parts)


def _code_columns(codes: Codes, style: str) -> dict[str, pa.Array]:
    """The columns ``codes`` and ``tokens`` of some rows."""
    import pyarrow as pa

    offsets = np.arange(0, codes.size + 1, codes.shape[1], dtype=np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(codes.reshape(-1), pa.int32()))
    return {"codes": lists, "tokens": _tokens(codes, style)}


def _tokens(codes: Codes, style: str) -> pa.Array:
    """The semantic ID of each row as a string, as `gti_cli.checkpoints.token_names.semantic_id` writes it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    before, behind = boundary_tokens(style)
    parts: list[Any] = [pa.scalar(before)]
    # Column by column: each name of a level is made once and then looked up by code. So a large catalogue needs no
    # Python string for each of its N * L codes.
    for level in range(codes.shape[1]):
        used = range(int(codes[:, level].max()) + 1)
        names = pa.array([token_name(level, code, style) for code in used], pa.string())
        parts.append(names.take(pa.array(codes[:, level])))
    return pc.binary_join_element_wise(*parts, pa.scalar(behind), "")


def items_parts(catalogue: Catalogue) -> Iterator[pa.Table]:
    """The table ``items.parquet`` without ``same_as``, in parts: item_id, the encoded text, text columns of the input.

    Args:
        catalogue: The items.
    """
    import pyarrow as pa

    names, start = string_columns(catalogue.table), 0
    for block in catalogue.table.blocks(["item_id", *names], _PART):
        stop = start + len(block)
        own = {"item_id": catalogue.item_ids.array(start, stop), "text": catalogue.texts.array(start, stop)}
        yield pa.table({**own, **{name: text_column(block, name) for name in names}})
        start = stop


def with_same_as(
    parts: Iterable[pa.Table], item_ids: pa.ChunkedArray, first_equal: npt.NDArray[np.int64]
) -> Iterator[pa.Table]:
    """Add the column ``same_as``: the id of the first item with an identical embedding, null where there is none.

    Args:
        parts: An items table of N rows in parts; an existing column ``same_as`` is replaced.
        item_ids: (N,) the ids of its items.
        first_equal: (N,) row numbers from `gti_cli.semantic_ids.groups.first_equal_rows`.
    """
    import pyarrow as pa

    start = 0
    for part in parts:
        rows = np.arange(start, start + len(part))
        first = first_equal[start : start + len(part)]
        same_as = item_ids.take(pa.array(first, mask=first == rows)).cast(pa.string()).combine_chunks()
        kept = [name for name in part.column_names if name != SAME_AS]
        yield part.select(kept).append_column(SAME_AS, same_as)
        start += len(part)


def write_items(path: Path, parts: Iterable[pa.Table]) -> BlockTable:
    """Write ``items.parquet``.

    Args:
        path: The file.
        parts: The table in parts, from `with_same_as`.

    Returns:
        The table as it is on disk, with ``same_as`` in memory.
    """
    tables.write_parts(path, parts)
    return tables.read_in_blocks(path, resident=[SAME_AS])


def write_codebooks(path: Path, codebooks: Sequence[Vectors]) -> None:
    """Write ``codebooks.safetensors``: ``level_0``, ``level_1``, … (K_l, d_code) float32."""
    write_arrays(path, {f"level_{level}": np.float32(codebook) for level, codebook in enumerate(codebooks)})


def write_embeddings(path: Path, *parts: VectorRows) -> VectorFile:
    """Write ``embeddings.safetensors``: ``embeddings`` (N, d) float32, rows as in the items table.

    Args:
        path: The file.
        *parts: Matrices (n, d), whose rows are written one matrix after another. A single part that is this very file
            is left as it is.
    """
    if not (len(parts) == 1 and isinstance(parts[0], VectorFile) and parts[0].path == path):
        shape = (sum(len(part) for part in parts), int(parts[0].shape[1]))
        write_vectors(path, shape, (part[rows] for part in parts for rows in blocks(len(part))))
    return VectorFile(path)


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as a safetensors file."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of a safetensors file.

    Raises:
        InputError: When the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as cause:
        raise InputError(
            "cannot be read as safetensors", where=str(path), remedy="run 'gti build-ids' again with --force"
        ) from cause


def identity(codebooks: Sequence[Vectors], codes: Codes, sizes: Sequence[int], style: str = LC_REC) -> str:
    """SHA-256 over codebooks, codes and token names, on which all later stages depend.

    Args:
        codebooks: L arrays (K_l, d_code).
        codes: (N, L).
        sizes: The number of codes of each level.
        style: Style of the token names: ``lc-rec`` or ``onerec``.
    """
    digest = hashlib.sha256()
    update: Callable[[bytes], None] = digest.update
    for codebook in codebooks:
        update(np.ascontiguousarray(codebook, dtype="<f4").tobytes())
    for part in blocks(len(codes)):
        update(np.ascontiguousarray(codes[part], dtype="<i4").tobytes())
    update("".join(all_names(sizes, style)).encode())
    return digest.hexdigest()


def write_history(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write ``rqvae_history.parquet``: one row for each epoch of an RQ-VAE's training."""
    import pyarrow as pa

    tables.write(path, pa.Table.from_pylist(list(rows)))
