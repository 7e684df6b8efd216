"""What every prior does: it gives items masses behind histories, and behind the training targets of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from scipy import sparse


@dataclass(frozen=True)
class Targets:
    """Targets in a run of one user's items.

    Attributes:
        items: Catalogue rows, oldest first.
        places: Places of the targets: the history of each is what stands before it.
        user: Number of the user among those whom the prior was fitted to, and whose own share in it is to be left out.
            -1: the items are of none of them.
    """

    items: Sequence[int]
    places: Sequence[int]
    user: int = -1


class Prior(Protocol):
    """Masses of items behind histories."""

    @property
    def name(self) -> str:
        """Name of the prior on the command line."""
        ...

    def masses(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """(U, N) masses of items behind U histories of catalogue rows, oldest first; none is negative."""
        ...


class TargetMasses(Protocol):
    """Masses of items behind the histories of training targets, as if each target's own user were not known."""

    def masses_of_targets(self, parts: Sequence[Targets]) -> sparse.csr_matrix:
        """(targets, N) masses, none negative; the targets of one part after those of the part before."""
        ...


@dataclass(frozen=True)
class HistoryMasses:
    """The masses behind many histories, computed for a few of them at a time: all at once may not fit into memory.

    Attributes:
        prior: Gives the masses.
        histories: Catalogue rows of each history, oldest first.
    """

    prior: Prior
    histories: Sequence[Sequence[int]]

    def __getitem__(self, numbers: Sequence[int]) -> sparse.csr_matrix:
        """(n, N) masses behind n of the histories, given by their numbers."""
        return self.prior.masses([self.histories[number] for number in numbers])
