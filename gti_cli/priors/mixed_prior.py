"""A prior that mixes several: each member's masses become probabilities, and each has its share of the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import sparse

from gti_cli.priors.masses import Prior, TargetMasses, Targets

M = TypeVar("M")


def mixed(members: Sequence[M], shares: Sequence[float], masses: Callable[[M], sparse.csr_matrix]) -> sparse.csr_matrix:
    """Mix the masses of several members.

    A member that knows nothing of a history leaves all of it to the others.

    Args:
        members: The members.
        shares: Share of each.
        masses: Returns the (U, N) masses of a member.

    Returns:
        (U, N) masses.
    """
    total: sparse.csr_matrix | None = None
    for member, share in zip(members, shares, strict=True):
        own = masses(member)
        sums = np.asarray(own.sum(axis=1), dtype=np.float64).ravel()
        scaled = sparse.diags(share / np.where(sums > 0, sums, 1.0)) @ own
        total = scaled if total is None else total + scaled
    assert total is not None, "a mixture has members"
    return total.tocsr()


@dataclass(frozen=True)
class MixedPrior:
    """Masses of items behind histories.

    Attributes:
        members: The priors that are mixed.
        shares: Share of each.
    """

    members: Sequence[Prior]
    shares: Sequence[float]

    @property
    def name(self) -> str:
        """The names of the members."""
        return "+".join(member.name for member in self.members)

    def masses(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """(U, N) masses of items behind U histories of catalogue rows, oldest first."""
        return mixed(self.members, self.shares, lambda member: member.masses(histories))


@dataclass(frozen=True)
class MixedTargetMasses:
    """Masses of items behind training targets.

    Attributes:
        members: The members' masses of targets.
        shares: Share of each.
    """

    members: Sequence[TargetMasses]
    shares: Sequence[float]

    def masses_of_targets(self, parts: Sequence[Targets]) -> sparse.csr_matrix:
        """(targets, N) masses; the targets of one part after those of the part before."""
        return mixed(self.members, self.shares, lambda member: member.masses_of_targets(parts))
