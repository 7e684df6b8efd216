"""Several priors side by side, each with weights of its own that the model learns.

A mixture (`mixed_prior`) adds up probabilities with fixed shares, so it serves members that say the same kind of thing.
*Channels* stay apart: each adds its own bias to the logits, which multiplies probabilities. So a channel that knows
little of which item comes next, but much of which do not, still counts.

The masses of C channels stand side by side in one matrix of C * N columns: `gti_cli.decoding.prior_bias` divides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import sparse

from gti_cli.priors.content_knn_prior import ContentKnnPrior
from gti_cli.priors.masses import Prior, TargetMasses, Targets
from gti_cli.tensors.vector_file import VectorRows


@dataclass(frozen=True)
class ChannelsPrior:
    """Masses of items behind histories, of several channels.

    Attributes:
        channels: The prior of each channel.
    """

    channels: Sequence[Prior]

    @property
    def name(self) -> str:
        """The names of the channels."""
        return "+".join(channel.name for channel in self.channels)

    def masses(self, histories: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """(U, C * N) masses of items behind U histories of catalogue rows, oldest first."""
        return sparse.hstack([channel.masses(histories) for channel in self.channels], format="csr")


@dataclass(frozen=True)
class ChannelsTargetMasses:
    """Masses of items behind training targets, of several channels.

    Attributes:
        channels: The masses of each channel.
    """

    channels: Sequence[TargetMasses]

    def masses_of_targets(self, parts: Sequence[Targets]) -> sparse.csr_matrix:
        """(targets, C * N) masses; the targets of one part after those of the part before."""
        return sparse.hstack([channel.masses_of_targets(parts) for channel in self.channels], format="csr")


def with_new_items(prior: Prior, vectors: VectorRows) -> Prior:
    """A prior that also knows items which came later, as far as it compares embeddings.

    Args:
        prior: The prior.
        vectors: (N, d) float32 embeddings of the catalogue as it is now.
    """
    channels = [one.with_new(vectors) if isinstance(one, ContentKnnPrior) else one for one in channels_of(prior)]
    return ChannelsPrior(channels) if isinstance(prior, ChannelsPrior) else channels[0]


def channels_of(prior: Prior) -> Sequence[Prior]:
    """The channels of a prior: itself, where it is only one."""
    return prior.channels if isinstance(prior, ChannelsPrior) else (prior,)
