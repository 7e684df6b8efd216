"""The biases of a prior for the targets of a training batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from gti_cli.decoding.prior_bias import PriorTrie, code_bias
from gti_cli.decoding.trie import Trie
from gti_cli.priors.masses import TargetMasses, Targets


class Example(Protocol):
    """A run of a user's items, the last of which are targets: a history example of `gti_cli.training`."""

    @property
    def items(self) -> Sequence[int]:
        """Catalogue rows, oldest first."""
        ...

    @property
    def first_target(self) -> int:
        """Place of the first target."""
        ...

    @property
    def user(self) -> int:
        """Number of the user in the training part; -1 for items that are not of that part."""
        ...


@dataclass(frozen=True)
class TrainingPrior:
    """Computes the biases of the codes of targets.

    A training target's own user is left out of the prior. A validation target was never in it: there the masses are
    those of `gti evaluate`.

    Attributes:
        masses: Gives the masses of items behind the history of a target.
        trie: All semantic IDs of the catalogue.
        ranges: The same trie as the biases need it.
    """

    masses: TargetMasses
    trie: Trie
    ranges: PriorTrie

    def biases(self, rows: Sequence[Sequence[Example]], most: int) -> torch.Tensor:
        """Compute the bias of every code for every target.

        Args:
            rows: The examples of each row of a batch.
            most: Most targets of a row, M.

        Returns:
            (rows, M, C, L, K) float32, of C channels, K the largest codebook. The targets of a row stand at its end,
            after zeros.
        """
        levels, widest = self.trie.levels, max(self.ranges.sizes)
        parts = [
            Targets(example.items, range(example.first_target, len(example.items)), example.user)
            for row in rows
            for example in row
        ]
        channels = self.ranges.channel_masses(self.masses.masses_of_targets(parts))
        biases = torch.zeros(len(rows), most, len(channels), levels, widest)
        targets = np.asarray([part.items[place] for part in parts for place in part.places], dtype=np.int64)
        counts = [sum(len(example.items) - example.first_target for example in row) for row in rows]
        row_of = torch.from_numpy(np.repeat(np.arange(len(rows)), counts))
        column_of = torch.cat([torch.arange(most - count, most) for count in counts])
        prompts = torch.arange(len(targets))
        paths = self.trie.paths(self.trie.leaf_of_row[targets])
        for level, nodes in enumerate(paths[:-1]):
            for number, masses in enumerate(channels):
                bias = code_bias(self.ranges, masses, level, prompts, torch.from_numpy(nodes))
                biases[row_of, column_of, number, level, : bias.shape[1]] = bias
        return biases
