"""A prior as arrays and settings, and back, for a catalogue whose items may stand in another order.

Format 1 holds `item-knn`: its arrays, without a prefix. Format 2 holds any other prior as a list of members; the arrays
of each have its name and a slash before their own. Format 3 holds several channels, each as in format 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gti_cli.baselines.content_knn import ContentNeighbourhood, Spread
from gti_cli.baselines.item_knn import Neighbourhood
from gti_cli.baselines.sasrec import Network, SASRec, Size
from gti_cli.priors.channels import ChannelsPrior
from gti_cli.priors.content_knn_prior import ContentKnnPrior, placed_vectors
from gti_cli.priors.item_knn_prior import ItemKnnPrior
from gti_cli.priors.masses import Prior
from gti_cli.priors.mixed_prior import MixedPrior
from gti_cli.priors.sasrec_prior import SasrecPrior
from gti_cli.tables.arrays.item_rows import rows_of

Arrays = dict[str, npt.NDArray[Any]]
Ints = npt.NDArray[np.int64]

FORMATS = (1, 2, 3)


def packed(prior: Prior) -> tuple[Arrays, dict[str, Any]]:
    """Arrays of a prior, and what describes it: ``format``, ``prior``, and settings.

    Args:
        prior: The prior, with similarities in float32.
    """
    if isinstance(prior, ItemKnnPrior):
        arrays, settings = _packed_member(prior)
        return arrays, {"format": 1, "prior": prior.name, **settings}
    if isinstance(prior, ChannelsPrior):
        parts = [_packed_members(channel) for channel in prior.channels]
        together = {key: array for arrays, _ in parts for key, array in arrays.items()}
        return together, {"format": 3, "prior": prior.name, "channels": [described for _, described in parts]}
    arrays, described = _packed_members(prior)
    return arrays, {"format": 2, "prior": prior.name, "members": described}


def _packed_members(prior: Prior) -> tuple[Arrays, list[dict[str, Any]]]:
    """Arrays of the members of a mixture, or of a prior that is its own only member, and what describes each."""
    members, shares = (prior.members, prior.shares) if isinstance(prior, MixedPrior) else ([prior], [1.0])
    all_arrays: Arrays = {}
    described = []
    for member, share in zip(members, shares, strict=True):
        arrays, settings = _packed_member(member)
        all_arrays.update({f"{member.name}/{key}": array for key, array in arrays.items()})
        described.append({"prior": member.name, "share": float(share), **settings})
    return all_arrays, described


def _packed_member(prior: Prior) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and settings of a prior that is no mixture."""
    if isinstance(prior, ItemKnnPrior):
        similarity = prior.similarity
        arrays = {
            "scale": prior.scale,
            "indptr": similarity.indptr.astype(np.int64),
            "indices": similarity.indices.astype(np.int32),
            "data": similarity.data.astype(np.float32),
        }
        return arrays, {"settings": asdict(prior.settings)}
    if isinstance(prior, ContentKnnPrior):
        content = {"vectors": prior.vectors, **vars(prior.spread)}
        return content, {
            "settings": asdict(prior.settings),
            "temperature": prior.temperature,
            "most_items": prior.most_items,
        }
    if not isinstance(prior, SasrecPrior):
        raise TypeError(f"no file holds a {type(prior).__name__}")
    weights = {key: np.ascontiguousarray(t.cpu().numpy()) for key, t in prior.fitted.network.state_dict().items()}
    return weights, {
        "settings": asdict(prior.size),
        "temperature": prior.temperature,
        "most_items": prior.most_items,
    }


def unpacked(
    described: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], ids: Sequence[str], row_of: Mapping[str, int]
) -> Prior:
    """A prior with its items in the order of a catalogue.

    Args:
        described: What `packed` has returned.
        arrays: The arrays, with or without others.
        ids: Item id of each of the prior's own rows.
        row_of: Catalogue row of each item id.
    """
    if described["format"] == 1:
        return _item_knn(described, arrays, ids, row_of)
    if described["format"] == 3:
        return ChannelsPrior([_unpacked_members(one, arrays, ids, row_of) for one in described["channels"]])
    return _unpacked_members(described["members"], arrays, ids, row_of)


def _unpacked_members(
    described: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, npt.NDArray[Any]],
    ids: Sequence[str],
    row_of: Mapping[str, int],
) -> Prior:
    """A mixture, or its only member."""
    members: list[Prior] = []
    for member in described:
        prefix = f"{member['prior']}/"
        own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        members.append(_UNPACKED[member["prior"]](member, own, ids, row_of))
    shares = [float(member["share"]) for member in described]
    return members[0] if len(members) == 1 else MixedPrior(members, shares)


def _item_knn(
    described: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], ids: Sequence[str], row_of: Mapping[str, int]
) -> ItemKnnPrior:
    similarity = sparse.csr_matrix(
        (arrays["data"].astype(np.float64), arrays["indices"], arrays["indptr"]), shape=(len(ids), len(ids))
    )
    row_of_id = rows_of(row_of, ids)
    kept = np.flatnonzero(row_of_id >= 0)
    rows = row_of_id[kept]
    # (catalogue, stored): a 1 where both are the same item.
    placed = sparse.csr_matrix((np.ones(len(kept)), (rows, kept)), shape=(len(row_of), len(ids)))
    scale = np.ones(len(row_of))
    scale[rows] = arrays["scale"][kept]
    settings = Neighbourhood(**described["settings"])
    return ItemKnnPrior(settings, (placed @ similarity @ placed.T).tocsr(), scale)


def _sasrec(
    described: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], ids: Sequence[str], row_of: Mapping[str, int]
) -> SasrecPrior:
    import torch

    network = Network(len(ids), Size(**described["settings"]))
    network.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    known_row: Ints = np.full(len(row_of), -1, dtype=np.int64)
    rows = rows_of(row_of, ids)
    known_row[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    temperature, most_items = float(described["temperature"]), int(described["most_items"])
    if not temperature > 0 or most_items < 1:
        raise ValueError(f"temperature {temperature}, {most_items} items")
    return SasrecPrior(SASRec(network.eval()), known_row, temperature, most_items)


def _content_knn(
    described: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], ids: Sequence[str], row_of: Mapping[str, int]
) -> ContentKnnPrior:
    vectors = arrays["vectors"]
    spread = Spread(arrays["mean"], arrays["variances"], arrays["directions"])
    if vectors.shape != (len(ids), len(spread.mean)):
        raise ValueError(f"embeddings of shape {vectors.shape} for {len(ids):,} items")
    rows: Ints = rows_of(row_of, ids)
    temperature, most_items = float(described["temperature"]), int(described["most_items"])
    if not temperature > 0 or most_items < 1:
        raise ValueError(f"temperature {temperature}, {most_items} items")
    settings = ContentNeighbourhood(**described["settings"])
    return ContentKnnPrior(placed_vectors(vectors, rows, len(row_of)), spread, settings, temperature, most_items)


_UNPACKED: dict[str, Callable[..., Prior]] = {
    ItemKnnPrior.name: _item_knn,
    SasrecPrior.name: _sasrec,
    ContentKnnPrior.name: _content_knn,
}
