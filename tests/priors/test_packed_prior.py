"""The arrays of each prior: what the file of `item-knn` has always held, and networks and mixtures beside it."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.errors import InputError
from gti_cli.priors.channels import ChannelsPrior
from gti_cli.priors.mixed_prior import MixedPrior
from gti_cli.priors.stored_prior import StoredPrior, read_prior, write_prior
from tests.support.priors import IDS, ROW_OF, SETTINGS, random_content, random_sasrec


def test_the_file_of_item_knn_is_as_it_was_when_there_was_no_other_prior(tmp_path, stored):
    with safe_open(tmp_path / PRIOR_FILE, framework="numpy") as file:
        names = ["data", "indices", "indptr", "item_ids", "scale", "weights"]
        assert sorted(file.keys()) == names
        types = [file.get_tensor(name).dtype.str for name in names]
        described = json.loads(file.metadata()["gti_prior"])
    assert types == ["<f4", "<i4", "<i8", "|u1", "<f8", "<f4"]
    settings = asdict(SETTINGS)
    expected = {"format": 1, "prior": "item-knn", "settings": settings, "uniform_share": 0.3, "floor": -6.0}
    assert described == expected


def test_a_mixture_reads_what_was_written_for_a_catalogue_in_another_order(tmp_path, stored):
    mixture = MixedPrior([stored, random_sasrec(4, temperature=1.7, most_items=3)], [0.25, 0.75])
    for prior in (mixture, mixture.members[1]):
        write_prior(tmp_path, StoredPrior(prior, np.ones(2, dtype=np.float32)), IDS)
        bytes_before = (tmp_path / PRIOR_FILE).read_bytes()
        read = read_prior(tmp_path, ROW_OF).prior
        assert read.name == prior.name
        histories = [[0], [1, 2], [3, 0, 1]]
        before = prior.masses(histories).toarray()
        np.testing.assert_allclose(read.masses(histories).toarray(), before, rtol=1e-6)
        write_prior(tmp_path, StoredPrior(read, np.ones(2, dtype=np.float32)), IDS)
        assert (tmp_path / PRIOR_FILE).read_bytes() == bytes_before
        moved = read_prior(tmp_path, {"d": 0, "new": 1, "a": 2, "b": 3, "ü": 4}).prior
        masses = moved.masses([[2], [3, 4], [0, 2, 3], [1]]).toarray()
        np.testing.assert_allclose(masses[:3][:, [2, 3, 4, 0]], before, rtol=1e-6)
        assert not masses[3].any() and not masses[:, 1].any()  # The new item has its share of the uniform mass alone.


def test_channels_read_what_was_written_for_a_catalogue_in_another_order(tmp_path, stored):
    channels = ChannelsPrior([MixedPrior([stored, random_sasrec(4)], [0.25, 0.75]), random_content(4, temperature=0.2)])
    for prior in (channels, channels.channels[1]):
        write_prior(tmp_path, StoredPrior(prior, np.ones((2, 2), dtype=np.float32)), IDS)
        bytes_before = (tmp_path / PRIOR_FILE).read_bytes()
        read = read_prior(tmp_path, ROW_OF).prior
        histories = [[0], [1, 2]]
        before = prior.masses(histories).toarray()
        assert read.name == prior.name
        np.testing.assert_allclose(read.masses(histories).toarray(), before, rtol=1e-6)
        write_prior(tmp_path, StoredPrior(read, np.ones((2, 2), dtype=np.float32)), IDS)
        assert (tmp_path / PRIOR_FILE).read_bytes() == bytes_before
        moved = read_prior(tmp_path, {"d": 0, "new": 1, "a": 2, "b": 3, "ü": 4}).prior
        masses = moved.masses([[2], [3, 4]]).toarray().reshape(2, -1, 5)
        np.testing.assert_allclose(masses[:, :, [2, 3, 4, 0]].reshape(2, -1), before, rtol=1e-6)
        assert not masses[:, :, 1].any()
    tensors = load_file(tmp_path / PRIOR_FILE)
    with safe_open(tmp_path / PRIOR_FILE, framework="numpy") as file:
        metadata = file.metadata()
    damaged = {**tensors, "content-knn/vectors": tensors["content-knn/vectors"][:, :3]}
    save_file(damaged, tmp_path / PRIOR_FILE, metadata=metadata)
    with pytest.raises(InputError, match="the prior is damaged"):
        read_prior(tmp_path, ROW_OF)


def test_a_damaged_network_is_refused(tmp_path, stored):
    write_prior(tmp_path, StoredPrior(random_sasrec(4), np.ones(2, dtype=np.float32)), IDS)
    path = tmp_path / PRIOR_FILE
    tensors = load_file(path)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    save_file({**tensors, "sasrec/items.weight": tensors["sasrec/items.weight"][:3]}, path, metadata=metadata)
    with pytest.raises(InputError, match="the prior is damaged"):
        read_prior(tmp_path, ROW_OF)
