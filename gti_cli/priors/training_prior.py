"""The biases of a prior for the targets of a training batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from gti_cli.decoding.prior_bias import PriorTrie, code_bias
from gti_cli.decoding.trie import Trie
from gti_cli.priors.item_knn_prior import ItemKnnPrior


@dataclass(frozen=True)
class TrainingPrior:
    """Computes the biases of the codes of targets.

    Attributes:
        prior: Gives the masses of items behind a history.
        trie: All semantic IDs of the catalogue.
        ranges: The same trie as the biases need it.
        leave_out_own: Subtract each user's own pairs: for the users that the prior has counted.
    """

    prior: ItemKnnPrior
    trie: Trie
    ranges: PriorTrie
    leave_out_own: bool

    def biases(self, rows: Sequence[Sequence[tuple[Sequence[int], Sequence[int]]]], most: int) -> torch.Tensor:
        """Compute the bias of every code for every target.

        Args:
            rows: For each row of a batch its examples: the catalogue rows of a user's items, and the places of the
                targets among them.
            most: Most targets of a row, M.

        Returns:
            (rows, M, L, K) float32, K the largest codebook. The targets of a row stand at its end, after zeros.
        """
        levels, widest = self.trie.levels, max(self.ranges.sizes)
        biases = torch.zeros(len(rows), most, levels, widest)
        examples = [example for row in rows for example in row]
        masses = self.ranges.masses(sparse.vstack([self._masses(*example) for example in examples]).tocsr())
        targets = np.asarray([items[place] for items, places in examples for place in places], dtype=np.int64)
        counts = [sum(len(places) for _, places in row) for row in rows]
        row = torch.from_numpy(np.repeat(np.arange(len(rows)), counts))
        column = torch.cat([torch.arange(most - count, most) for count in counts])
        prompts = torch.arange(len(targets))
        paths = self.trie.paths(self.trie.leaf_of_row[targets])
        for level, nodes in enumerate(paths[:-1]):
            bias = code_bias(self.ranges, masses, level, prompts, torch.from_numpy(nodes))
            biases[row, column, level, : bias.shape[1]] = bias
        return biases

    def _masses(self, items: Sequence[int], places: Sequence[int]) -> sparse.csr_matrix:
        if self.leave_out_own:
            return self.prior.masses_without_own(items, places)
        return self.prior.masses([items[:place] for place in places])
