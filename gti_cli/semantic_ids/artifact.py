"""The files of the artifact ``semantic_ids``: IDs, codebooks, items as used, embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.semantic_ids.catalogue import Catalogue, kept_columns
from gti_cli.vocabulary.tokens import all_names, semantic_id

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
HISTORY = "rqvae_history.parquet"  # with --quantizer rq-vae


def write_ids(path: Path, item_ids: Sequence[str], codes: Codes) -> None:
    """Write ``semantic_ids.parquet``: item_id, codes (list of int32), tokens."""
    import pyarrow as pa

    offsets = np.arange(0, codes.size + 1, codes.shape[1], dtype=np.int32)
    columns = {
        "item_id": pa.array(item_ids, pa.string()),
        "codes": pa.ListArray.from_arrays(pa.array(offsets), pa.array(codes.reshape(-1), pa.int32())),
        "tokens": pa.array([semantic_id(row) for row in codes.tolist()], pa.string()),
    }
    tables.write(path, columns)


def write_items(path: Path, catalogue: Catalogue, first_alike: npt.NDArray[np.int64]) -> None:
    """Write ``items.parquet``: item_id, text as encoded, the text columns as they came, and ``same_as``.

    ``same_as`` is the id of the first item with an identical embedding, null for items whose embedding is their own.
    """
    import pyarrow as pa

    same_as = [
        catalogue.item_ids[first] if first != row else None
        for row, first in enumerate(np.asarray(first_alike).tolist())
    ]
    columns: dict[str, Any] = {
        "item_id": pa.array(catalogue.item_ids, pa.string()),
        "text": pa.array(catalogue.texts, pa.string()),
        **kept_columns(catalogue.table),
        "same_as": pa.array(same_as, pa.string()),
    }
    tables.write(path, columns)


def write_codebooks(path: Path, codebooks: Sequence[Vectors]) -> None:
    """Write ``codebooks.safetensors``: ``level_0`` … (K, d_code) float32."""
    _write_safetensors(path, {f"level_{level}": codebook for level, codebook in enumerate(codebooks)})


def write_embeddings(path: Path, vectors: Vectors) -> None:
    """Write ``embeddings.safetensors``: ``embeddings`` (N, d) float32, rows as in the items table."""
    _write_safetensors(path, {"embeddings": vectors})


def _write_safetensors(path: Path, arrays: dict[str, Vectors]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}, path)


def identity(codebooks: Sequence[Vectors], codes: Codes, sizes: Sequence[int]) -> str:
    """SHA-256 over codebooks, codes and token names: what everything downstream rests on."""
    digest = hashlib.sha256()
    update: Callable[[bytes], None] = digest.update
    for codebook in codebooks:
        update(np.ascontiguousarray(codebook, dtype="<f4").tobytes())
    update(np.ascontiguousarray(codes, dtype="<i4").tobytes())
    update("".join(all_names(sizes)).encode())
    return digest.hexdigest()


def write_history(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write ``rqvae_history.parquet``: one row for each check of an RQ-VAE's training."""
    import pyarrow as pa

    tables.write(path, pa.Table.from_pylist(list(rows)))
