"""The masses of channels stand side by side."""

from __future__ import annotations

import numpy as np

from gti_cli.priors.channels import ChannelsPrior, ChannelsTargetMasses, channels_of, with_new_items
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


def test_only_what_compares_embeddings_learns_of_new_items() -> None:
    first, second = random_sasrec(6), random_content(6)
    now = np.ones((6, 4), dtype=np.float32)
    changed = with_new_items(ChannelsPrior([first, second]), now)
    assert channels_of(changed)[0] is first
    assert channels_of(changed)[1].vectors[-1].tolist() == [1, 1, 1, 1]  # type: ignore[attr-defined]
    assert with_new_items(second, now).vectors[-1].any() and with_new_items(first, now) is first  # type: ignore[attr-defined]
