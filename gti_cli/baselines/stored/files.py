"""Fitted baselines in one safetensors file, with the ids of the items that they were fitted to.

Nothing in the file is code: arrays, and settings as JSON. A reader looks items up by id, so the file serves a catalogue
that has got items since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.base import Baseline
from gti_cli.baselines.content_knn import ContentKNN, ContentNeighbourhood, ItemSpace, Spread
from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.baselines.popularity import Popularity
from gti_cli.baselines.stored.known_items import OverKnownItems
from gti_cli.errors import InputError
from gti_cli.tables.arrays.item_rows import rows_of
from gti_cli.tensors.vector_file import VectorFile
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]

_ENTRY = "baselines"  # of the metadata
_FORMAT = 1  # of the file; it grows when a reader of the old one would go wrong


@dataclass(frozen=True)
class StoredBaselines:
    """Fitted baselines.

    Attributes:
        baselines: By name.
        counts: (N,) training interactions of each item of the catalogue.
    """

    baselines: dict[str, Baseline]
    counts: Floats


def write_baselines(path: Path, stored: StoredBaselines, item_ids: Sequence[str]) -> None:
    """Write baselines into a file.

    Args:
        path: The file.
        stored: The baselines, over the rows of ``item_ids``.
        item_ids: Item id of each row.
    """
    from safetensors.numpy import save_file

    ids = np.frombuffer(json.dumps(list(item_ids)).encode(), dtype=np.uint8)
    arrays: Arrays = {"item_ids": ids, "counts": stored.counts}
    settings: dict[str, Any] = {}
    for name, baseline in stored.baselines.items():
        own, settings[name] = _packed(baseline)
        arrays.update({f"{name}/{key}": np.ascontiguousarray(array) for key, array in own.items()})
    # One entry alone: safetensors writes several in an order that changes from file to file.
    described = json.dumps({"format": _FORMAT, "settings": settings}, sort_keys=True)
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={_ENTRY: described})


def _packed(baseline: Baseline) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and settings of a fitted baseline."""
    if isinstance(baseline, Popularity):
        return {}, {}  # its counts are those of the file
    if isinstance(baseline, ItemKNN):
        matrix = baseline.similarity
        arrays = {"indptr": matrix.indptr.astype(np.int64), "indices": matrix.indices, "data": matrix.data}
        return {**arrays, "scale": baseline.scale}, asdict(baseline.settings)
    if isinstance(baseline, ContentKNN):
        spread = baseline.space.spread
        uses_spread = baseline.settings.centring or baseline.settings.whitening
        return dict(vars(spread)) if spread is not None and uses_spread else {}, asdict(baseline.settings)
    from gti_cli.baselines.sasrec import SASRec

    if not isinstance(baseline, SASRec):
        raise TypeError(f"no file holds a {type(baseline).__name__}")
    weights = {name: tensor.cpu().numpy() for name, tensor in baseline.network.state_dict().items()}
    return weights, asdict(baseline.network.size)


def read_baselines(
    path: Path, row_of: Mapping[str, int], embeddings: Path, device: torch.device, *, remedy: str
) -> StoredBaselines:
    """Read baselines for a catalogue.

    Args:
        path: The file.
        row_of: Catalogue row of each item id. Items that were not there when the baselines were fitted are unknown to
            all but ``content-knn``.
        embeddings: ``embeddings.safetensors`` of the catalogue, which ``content-knn`` reads.
        device: Where a network runs.
        remedy: What makes the file again, for the error line.

    Raises:
        InputError: When the file or the embeddings cannot be read, or do not belong together.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            metadata = file.metadata() or {}
        number, all_settings = _described(metadata)
        if number != _FORMAT:
            raise ValueError(f"format {number}, and this version of gti reads {_FORMAT}")
        ids = json.loads(arrays["item_ids"].tobytes())
        known_row, rows = np.full(len(row_of), -1, dtype=np.int64), rows_of(row_of, ids)
        known_row[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
        baselines: dict[str, Baseline] = {}
        for name, settings in all_settings.items():
            own = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
            if name == "content-knn":
                baselines[name] = _content_knn(own, settings, embeddings, len(row_of))
            else:
                fitted = _unpacked(name, {**own, "counts": arrays["counts"]}, settings, len(ids), device)
                is_same = np.array_equal(known_row, np.arange(len(ids)))
                baselines[name] = fitted if is_same else OverKnownItems(fitted, known_row)
        return StoredBaselines(baselines, np.where(known_row >= 0, arrays["counts"][known_row], 0.0))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise InputError(f"the baselines cannot be read ({error})", where=str(path), remedy=remedy) from error


def _described(metadata: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """The format of a file, and the settings of its baselines; earlier versions wrote two entries."""
    if _ENTRY not in metadata:
        return int(metadata["format"]), json.loads(metadata["settings"])
    described = json.loads(metadata[_ENTRY])
    return described["format"], described["settings"]


def _content_knn(arrays: Arrays, settings: dict[str, Any], embeddings: Path, items: int) -> ContentKNN:
    vectors, spread = VectorFile(embeddings), Spread(**arrays) if arrays else None
    if len(vectors) != items:
        raise ValueError(f"{len(vectors):,} embeddings, but {items:,} items")
    if spread is not None and len(spread.mean) != vectors.shape[1]:
        raise ValueError(f"fitted to embeddings of width {len(spread.mean)}, and these have {vectors.shape[1]}")
    chosen = ContentNeighbourhood(**settings)
    space = ItemSpace(vectors, spread, centring=chosen.centring, whitening=chosen.whitening)
    return ContentKNN(space, chosen, "content-knn")


def _unpacked(name: str, arrays: Arrays, settings: dict[str, Any], items: int, device: torch.device) -> Baseline:
    """A baseline over the items that it was fitted to."""
    if name == "popularity":
        return Popularity.of_counts(arrays["counts"])
    if name == "item-knn":
        matrix = sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(items, items))
        return ItemKNN.of_similarity(Neighbourhood(**settings), arrays["scale"], matrix)
    if name != "sasrec":
        raise ValueError(f"unknown baseline {name!r}")
    import torch

    from gti_cli.baselines.sasrec import Network, SASRec, Size

    network = Network(items, Size(**settings))
    network.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items() if key != "counts"})
    return SASRec(network.to(device).eval())
