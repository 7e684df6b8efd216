"""What the processes of a launch share: a fitted prior is the same after reading, and draws no random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.baselines import sasrec_tuning
from gti_cli.errors import InputError
from gti_cli.priors.fitted_file import read_fitted, write_fitted
from gti_cli.priors.fitting import fit_prior
from gti_cli.priors.masses import Targets
from gti_cli.priors.prior_data import PriorData
from gti_cli.tensors.vector_file import write_vectors
from tests.support.baselines import QUICK, SASREC_ROW_OF, ordered_sequences


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PriorData:
    for name, value in QUICK.items():
        monkeypatch.setattr(sasrec_tuning, name, value)
    train, valid = ordered_sequences(12)
    # The order of the items is not that of their rows.
    row_of = dict(sorted(SASREC_ROW_OF.items(), reverse=True))
    vectors = np.random.default_rng(0).normal(size=(len(row_of), 4)).astype(np.float32)
    write_vectors(tmp_path / "embeddings", vectors.shape, [vectors])
    return PriorData(train, valid, row_of, 0, torch.device("cpu"), tmp_path / "cache", tmp_path / "embeddings")


@pytest.mark.parametrize("name", ["item-knn", "sasrec", "item-knn+sasrec+content-knn"])
def test_reads_what_was_fitted(data: PriorData, tmp_path: Path, name: str) -> None:
    fitted = fit_prior(name, data)
    write_fitted(tmp_path / "fitted", fitted)
    torch.manual_seed(5)
    read = read_fitted(tmp_path / "fitted", data)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert read.report == fitted.report
    # Users of both folds, and one whom nobody has counted.
    parts = [Targets([data.row_of[item] for item in data.train[f"u{n}"]], (1, 3), n) for n in range(6)]
    parts.append(Targets([1, 2, 3], (1,), -1))
    mine, theirs = (of.of_targets.masses_of_targets(parts).toarray() for of in (read, fitted))
    np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    assert np.abs(theirs).max() > 0
    histories = [part.items for part in parts]
    masses = [of.prior.masses(histories).toarray() for of in (read, fitted)]
    np.testing.assert_allclose(*masses, rtol=1e-12)


def test_a_damaged_file_is_refused(data: PriorData, tmp_path: Path) -> None:
    path = tmp_path / "fitted"
    write_fitted(path, fit_prior("item-knn", data))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="the prior that was fitted for this run cannot be read"):
        read_fitted(path, data)
