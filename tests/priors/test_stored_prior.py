"""A stored prior: the same masses after reading, also for a catalogue in another order, with other items."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.errors import InputError
from gti_cli.priors.item_knn_prior import ItemKnnPrior
from gti_cli.priors.stored_prior import PRIOR_FILE, StoredPrior, read_prior, write_prior

IDS = ["a", "b", "ü", "d"]
ROW_OF = {item: row for row, item in enumerate(IDS)}


@pytest.fixture
def stored(tmp_path) -> ItemKnnPrior:
    train = {"1": ["a", "b", "ü"], "2": ["b", "d", "a"], "3": ["ü", "d"]}
    prior = ItemKnnPrior.of(ItemKNN(train, ROW_OF, Neighbourhood(last=2, decay=0.5)))
    write_prior(tmp_path, StoredPrior(prior, np.asarray([0.5, 0.25], dtype=np.float32)), IDS)
    return prior


def test_reads_what_was_written(tmp_path, stored):
    read = read_prior(tmp_path, ROW_OF)
    assert read.weights.tolist() == [0.5, 0.25]
    assert read.prior.settings == stored.settings
    np.testing.assert_array_equal(read.prior.scale, stored.scale)
    histories = [[0], [1, 2], [3, 0, 1]]
    np.testing.assert_allclose(read.prior.masses(histories).toarray(), stored.masses(histories).toarray(), rtol=1e-6)


def test_items_are_found_by_their_ids(tmp_path, stored):
    # "d" is gone, "new" has come, and the order is another.
    read = read_prior(tmp_path, {"ü": 0, "new": 1, "a": 2, "b": 3})
    masses = read.prior.masses([[3, 2], [1]]).toarray()
    before = stored.masses([[1, 0]]).toarray()[0]
    np.testing.assert_allclose(masses[0], [before[2], 0, before[0], before[1]], rtol=1e-6)
    assert not masses[1].any()


def test_a_checkpoint_without_a_prior(tmp_path):
    assert read_prior(tmp_path, ROW_OF) is None


def test_a_damaged_file_is_refused(tmp_path, stored):
    path = tmp_path / PRIOR_FILE
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_prior(tmp_path, ROW_OF)
