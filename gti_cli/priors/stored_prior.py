"""A prior in a checkpoint: ``gti_prior/prior.safetensors`` holds what it counted, and the weights that were learned.

Catalogue rows may change between training and use (`gti build-ids --reuse` adds items). So the file holds item ids, and
items are looked up by id. An item that the prior has never counted has no mass of its own; it keeps its part of the
mass that is spread evenly.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.hub import file_of_checkpoint
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.decoding.prior_bias import FLOOR, UNIFORM_SHARE, PriorTrie
from gti_cli.decoding.prompt_prior import ModelPrior
from gti_cli.decoding.trie import Trie
from gti_cli.errors import InputError
from gti_cli.priors.channels import with_new_items
from gti_cli.priors.item_knn_prior import ItemKnnPrior
from gti_cli.priors.masses import HistoryMasses, Prior
from gti_cli.priors.packed_prior import FORMATS, packed, unpacked
from gti_cli.tables.cold_start.held_out_items import FILE as HELD_OUT_FILE
from gti_cli.tables.cold_start.held_out_items import read_held_out
from gti_cli.tensors.vector_file import VectorFile
from gti_cli.workspace import StageRun
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    import torch

_ENTRY = "gti_prior"  # of the file's metadata: a JSON object


@dataclass(frozen=True)
class StoredPrior:
    """A prior with its learned weights.

    Attributes:
        prior: Gives the masses of items behind a history.
        weights: (L,) float32 weight of each level; (C, L) where the prior has C channels.
        uniform_share: Share of the mass that was spread evenly in training.
        floor: Lowest bias in training.
    """

    prior: Prior
    weights: npt.NDArray[np.float32]
    uniform_share: float = UNIFORM_SHARE
    floor: float = FLOOR


def write_prior(folder: Path, stored: StoredPrior, item_ids: Sequence[str]) -> None:
    """Write a prior into a checkpoint.

    Args:
        folder: The checkpoint.
        stored: The prior, with similarities in float32.
        item_ids: Item id of each row of the similarities.
    """
    from safetensors.numpy import save_file

    prior_arrays, described = packed(stored.prior)
    ids = np.frombuffer(json.dumps(list(item_ids)).encode(), dtype=np.uint8)
    arrays = {"weights": stored.weights, **prior_arrays, "item_ids": ids}
    described = {**described, "uniform_share": stored.uniform_share, "floor": stored.floor}
    # One entry: safetensors writes several in random order, and equal runs are to write equal bytes.
    (folder / PRIOR_FILE).parent.mkdir(exist_ok=True)
    with replacing(folder / PRIOR_FILE) as temporary:
        save_file(arrays, temporary, metadata={_ENTRY: json.dumps(described, sort_keys=True)})


def find_prior(checkpoint: Checkpoint) -> Path | None:
    """Return the folder that holds a checkpoint's prior: its own, or the hub's cache. None: it was trained without."""
    file = file_of_checkpoint(checkpoint.path, checkpoint.local, PRIOR_FILE)
    return Path(str(file).removesuffix(PRIOR_FILE)) if file is not None else None


def read_prior(folder: Path, row_of: Mapping[str, int]) -> StoredPrior | None:
    """Read the prior of a checkpoint for a catalogue.

    Args:
        folder: The checkpoint.
        row_of: Catalogue row of each item id. Items that are no longer in the catalogue are left out.

    Returns:
        The prior; None where the checkpoint has none.

    Raises:
        InputError: When the file cannot be read.
    """
    path = folder / PRIOR_FILE
    if not path.is_file():
        return None
    metadata, arrays = _read(path)
    if metadata.get("format") not in FORMATS:
        raise InputError(
            f"the prior has format {metadata.get('format')}, and this version of gti reads "
            f"{', '.join(map(str, FORMATS[:-1]))} and {FORMATS[-1]}",
            where=str(path),
            remedy="use the version of gti that wrote the checkpoint, or run 'gti finetune' again",
        )
    try:
        return _as_prior(metadata, arrays, row_of)
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise InputError(
            f"the prior is damaged ({error})", where=str(path), remedy="run 'gti finetune' again"
        ) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metadata and the arrays of the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            return json.loads((file.metadata() or {}).get(_ENTRY, "{}")), arrays
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"the prior cannot be read ({error})", where=str(path), remedy="run 'gti finetune' again"
        ) from error


def _as_prior(metadata: Mapping[str, Any], arrays: Mapping[str, Any], row_of: Mapping[str, int]) -> StoredPrior:
    """The prior with its rows in the order of a catalogue."""
    prior = unpacked(metadata, arrays, json.loads(arrays["item_ids"].tobytes()), row_of)
    return StoredPrior(prior, arrays["weights"], float(metadata["uniform_share"]), float(metadata["floor"]))


@dataclass(frozen=True)
class LoadedPrior:
    """A checkpoint's prior, ready for a search.

    Attributes:
        items: Gives the masses of items behind a history.
        model: Gives the biases of codes, with the learned weights.
        hidden: Catalogue rows of the items that were held out of the training. The prior has counted nothing behind
            them, so they take no place among the last items that it looks at.
    """

    items: Prior
    model: ModelPrior
    hidden: frozenset[int] = frozenset()

    def masses(self, histories: Sequence[Sequence[int]]) -> HistoryMasses:
        """The masses behind histories of catalogue rows, oldest first, for a search.

        A history of hidden items alone stays as it is.
        """
        if self.hidden:
            histories = [[row for row in rows if row not in self.hidden] or list(rows) for rows in histories]
        return HistoryMasses(self.items, histories)


def load_prior(
    checkpoint: Checkpoint,
    row_of: Mapping[str, int],
    trie: Trie,
    code_ids: Sequence[npt.NDArray[np.int64]],
    device: torch.device,
    embeddings: Path | None = None,
) -> LoadedPrior | None:
    """Load the prior of a checkpoint for a search over a catalogue.

    Args:
        checkpoint: The checkpoint.
        row_of: Catalogue row of each item id.
        trie: All semantic IDs of the catalogue.
        code_ids: L arrays. Token id of each code of a level.
        device: Device of the model.
        embeddings: ``embeddings.safetensors`` of the catalogue: those of items that came after the training.

    Returns:
        The prior; None where the checkpoint has none.

    Raises:
        InputError: When the file cannot be read, or has another number of levels than the semantic IDs.
    """
    import torch

    folder = find_prior(checkpoint)
    stored = read_prior(folder, row_of) if folder is not None else None
    if folder is None or stored is None:
        return None
    if stored.weights.shape[-1] != trie.levels:
        raise InputError(
            f"the prior has weights for {stored.weights.shape[-1]} levels, and the semantic IDs have {trie.levels}",
            where=str(folder / PRIOR_FILE),
            remedy="this checkpoint and these semantic IDs do not belong together",
        )
    ids = [torch.from_numpy(np.ascontiguousarray(level)).to(device) for level in code_ids]
    ranges = PriorTrie(trie, [len(level) for level in ids], device)
    weights = torch.from_numpy(stored.weights).to(device)
    prior = stored.prior
    if embeddings is not None and embeddings.is_file():
        prior = with_new_items(prior, VectorFile(embeddings))
    model = ModelPrior(ranges, weights, ids, stored.uniform_share, stored.floor)
    return LoadedPrior(prior, model, _hidden_rows(checkpoint, row_of))


def _hidden_rows(checkpoint: Checkpoint, row_of: Mapping[str, int]) -> frozenset[int]:
    """Catalogue rows of the items that were held out of a checkpoint's training."""
    file = file_of_checkpoint(checkpoint.path, checkpoint.local, HELD_OUT_FILE)
    held = read_held_out(file.parent) if file is not None else None
    return frozenset(row_of[item] for item in held.all if item in row_of) if held is not None else frozenset()


def keep_prior(checkpoint: Checkpoint, folder: Path, run: StageRun) -> None:
    """Copy the prior of a checkpoint into one that was made from it and recommends as before.

    Args:
        checkpoint: The checkpoint that was started from.
        folder: The new checkpoint.
        run: The run that makes it; gets what its model card says of the prior.
    """
    source = find_prior(checkpoint)
    if source is None:
        return
    (folder / PRIOR_FILE).parent.mkdir(exist_ok=True)
    with replacing(folder / PRIOR_FILE) as temporary:
        shutil.copyfile(source / PRIOR_FILE, temporary)
    run.details["behaviour_prior"] = _read(source / PRIOR_FILE)[0].get("prior", ItemKnnPrior.name)


def leave_prior(checkpoint: Checkpoint, run: StageRun, why: str) -> None:
    """Say that the prior of a checkpoint is not that of the one that is made from it.

    Args:
        checkpoint: The checkpoint that was started from.
        run: The run that makes the new one; what it took over about the prior is dropped.
        why: Why, and what would keep it, behind the first part of a sentence.
    """
    run.details.pop("behaviour_prior", None)
    if find_prior(checkpoint) is not None:
        console.warn(f"{checkpoint.artifact or checkpoint.path} was trained with a behaviour prior, {why}")
