"""What `gti recommend` recommends with: a checkpoint, the part of the catalogue that may be listed, and a prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.priors.stored_prior import LoadedPrior, load_prior
from gti_cli.recommendation.listing.candidates import Candidates
from gti_cli.tables import SemanticIDs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recommender:
    """A checkpoint, and the part of the catalogue that it may recommend.

    Attributes:
        checkpoint: The checkpoint.
        catalogue: All items with their semantic IDs.
        code_ids: For each level, the token id of each code.
        rows: (M,) rows of the catalogue that may be recommended, ascending.
        candidates: The items of each request that are to be ranked. None: the best of all are searched.
    """

    checkpoint: Checkpoint
    catalogue: SemanticIDs
    code_ids: list[np.ndarray]
    rows: np.ndarray
    candidates: Candidates | None = None

    def trie(self, *, whole: bool) -> Trie:
        """The trie of the whole catalogue, or of the items that may be recommended."""
        return build_trie(self.catalogue.codes if whole else self.catalogue.codes[self.rows])

    def prior(self, searched: Trie, device: torch.device) -> LoadedPrior | None:
        """The checkpoint's behaviour prior, for a search over the whole catalogue or over the allowed items."""
        is_whole = len(searched.items) == len(self.catalogue.codes)
        whole = searched if is_whole else self.trie(whole=True)
        part = None if is_whole else (searched, self.rows)
        return load_prior(self.checkpoint, self.catalogue.row_of(), whole, self.code_ids, device, part)
