"""A small prior in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.priors.item_knn_prior import ItemKnnPrior
from tests.support.priors import store_small_prior


@pytest.fixture
def stored(tmp_path: Path) -> ItemKnnPrior:
    """The prior that lies in `tmp_path`."""
    return store_small_prior(tmp_path)
