"""Fitting of content-knn: settings and temperature from held-out items, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.priors.calibration import COSINE_TEMPERATURES, calibrate
from gti_cli.priors.content_knn_fit import fit_content_knn, read_embeddings
from gti_cli.priors.prior_data import PriorData
from gti_cli.tables.histories import History
from gti_cli.tensors.vector_file import VectorFile, write_vectors

ITEMS = 12


@pytest.fixture
def data(tmp_path: Path) -> PriorData:
    """Items lie on a circle; each user goes on to the next one, and never back."""
    angles = np.arange(ITEMS) * 2 * np.pi / ITEMS
    circle = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    write_vectors(tmp_path / "e.safetensors", circle.shape, [circle])
    row_of = {f"i{row}": row for row in range(ITEMS)}
    train = {f"u{n}": [f"i{(n + step) % ITEMS}" for step in range(4)] for n in range(ITEMS)}
    valid = [History(user, items, f"i{(row_of[items[-1]] + 1) % ITEMS}") for user, items in train.items()]
    return PriorData(train, valid, row_of, 0, torch.device("cpu"), tmp_path / "cache", tmp_path / "e.safetensors")


def test_settings_and_temperature_are_those_of_held_out_items(data: PriorData) -> None:
    fitted = fit_content_knn(read_embeddings(data), data)
    assert fitted.report["ndcg@10"] == fitted.report["calibration"]["ndcg"] == 1.0
    prior = fitted.prior
    assert prior.settings.repeats == 0  # type: ignore[attr-defined]  # nobody goes back
    histories = [[data.row_of[item] for item in entry.items] for entry in data.valid]
    targets = [data.row_of[entry.target] for entry in data.valid]
    found = calibrate(prior, histories, targets, COSINE_TEMPERATURES)  # type: ignore[arg-type]
    assert prior.temperature == found.temperature == fitted.report["calibration"]["temperature"] < 1  # type: ignore[attr-defined]
    masses = prior.masses(histories).toarray()
    assert (masses.argmax(1) == targets).all()
    np.testing.assert_array_equal(fitted.of_targets.masses_of_targets(data.held_out()[0]).toarray(), masses)


def test_missing_embeddings_and_those_of_other_items_are_refused(data: PriorData) -> None:
    with pytest.raises(InputError, match="the workspace has none"):
        read_embeddings(replace(data, embeddings=None))
    with pytest.raises(InputError, match="12 embeddings, but 2 items"):
        read_embeddings(replace(data, row_of={"a": 0, "b": 1}))


@pytest.mark.parametrize("scale", [1e6, 1e-8])
def test_embeddings_that_float16_cannot_hold_are_refused(data: PriorData, scale: float) -> None:
    path = data.embeddings
    assert path is not None
    kept = read_embeddings(data)
    assert np.isfinite(kept).all() and kept.any(axis=1).all()
    vectors = VectorFile(path)[:] * np.float32(scale)
    write_vectors(path.with_name("scaled.safetensors"), vectors.shape, [vectors])
    with pytest.raises(InputError, match=r"the prior holds them in float16.*of about unit length"):
        read_embeddings(replace(data, embeddings=path.with_name("scaled.safetensors")))
