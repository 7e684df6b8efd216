"""The masses of channels stand side by side."""

from __future__ import annotations

import numpy as np

from gti_cli.priors.channels import ChannelsPrior, ChannelsTargetMasses, channels_of
from gti_cli.priors.content_knn_prior import PlainTargetMasses
from gti_cli.priors.masses import Targets
from tests.support.priors import random_content, random_sasrec


def test_channels_side_by_side() -> None:
    first, second = random_sasrec(6), random_content(6)
    both = ChannelsPrior([first, second])
    assert both.name == "sasrec+content-knn"
    assert list(channels_of(both)) == [first, second] and list(channels_of(first)) == [first]
    histories = [[0, 1], [2]]
    expected = np.hstack([first.masses(histories).toarray(), second.masses(histories).toarray()])
    np.testing.assert_array_equal(both.masses(histories).toarray(), expected)
    targets = ChannelsTargetMasses([PlainTargetMasses(first), PlainTargetMasses(second)])
    actual = targets.masses_of_targets([Targets([0, 1, 5], (2,))]).toarray()
    np.testing.assert_allclose(actual, expected[:1], rtol=1e-5)
