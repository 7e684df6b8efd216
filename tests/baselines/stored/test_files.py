"""Fitted baselines written and read again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.baselines.base import train_counts
from gti_cli.baselines.content_knn import ContentKNN, ContentNeighbourhood, ItemSpace, Spread
from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.baselines.popularity import Popularity
from gti_cli.baselines.sasrec import Network, SASRec
from gti_cli.baselines.stored.files import StoredBaselines, read_baselines, write_baselines
from gti_cli.errors import InputError
from gti_cli.tensors.vector_file import write_vectors
from tests.support.baselines import ITEMS, ROW_OF, SMALL, item_vectors, random_train

CPU = torch.device("cpu")
HISTORIES = [[1, 4], [7], [2, 3, 2, 9]]


@pytest.fixture
def stored(tmp_path: Path) -> StoredBaselines:
    """All four baselines, written to ``b.safetensors``, with their embeddings."""
    train, vectors = random_train(), item_vectors()
    write_vectors(tmp_path / "embeddings.safetensors", vectors.shape, [vectors])
    torch.manual_seed(0)
    settings = ContentNeighbourhood(last=3, centring=0.5, whitening=0.75)
    space = ItemSpace(vectors, Spread.measure(vectors), centring=0.5, whitening=0.75)
    made = StoredBaselines(
        {
            "popularity": Popularity(train, ROW_OF),
            "item-knn": ItemKNN(train, ROW_OF, Neighbourhood(window=2, decay=0.5), "item-knn"),
            "content-knn": ContentKNN(space, settings, "content-knn"),
            "sasrec": SASRec(Network(ITEMS, SMALL)),
        },
        train_counts(train, ROW_OF),
    )
    write_baselines(tmp_path / "b.safetensors", made, list(ROW_OF))
    return made


def read(folder: Path, row_of: dict[str, int], name: str = "b.safetensors") -> StoredBaselines:
    return read_baselines(folder / name, row_of, folder / "embeddings.safetensors", CPU, remedy="run it again")


def test_the_same_scores_after_reading(stored: StoredBaselines, tmp_path: Path) -> None:
    found = read(tmp_path, ROW_OF)
    assert list(found.baselines) == sorted(stored.baselines)
    np.testing.assert_array_equal(found.counts, stored.counts)
    for name, baseline in stored.baselines.items():
        assert found.baselines[name].name == name
        np.testing.assert_array_equal(found.baselines[name].scores(HISTORIES), baseline.scores(HISTORIES), name)


def test_same_baselines_same_bytes(stored: StoredBaselines, tmp_path: Path) -> None:
    first = (tmp_path / "b.safetensors").read_bytes()
    for _ in range(8):  # a library that orders entries anew each time is right half of the time
        write_baselines(tmp_path / "again.safetensors", stored, list(ROW_OF))
        assert (tmp_path / "again.safetensors").read_bytes() == first


def test_a_file_of_an_earlier_version_is_read(stored: StoredBaselines, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(tmp_path / "b.safetensors", framework="numpy") as file:
        described = json.loads(file.metadata()["baselines"])
    two_entries = {"format": str(described["format"]), "settings": json.dumps(described["settings"])}
    save_file(load_file(tmp_path / "b.safetensors"), tmp_path / "old.safetensors", metadata=two_entries)
    assert set(read(tmp_path, ROW_OF, "old.safetensors").baselines) == set(stored.baselines)


def test_a_catalogue_that_has_got_items(stored: StoredBaselines, tmp_path: Path) -> None:
    vectors = np.concatenate([item_vectors(), item_vectors()[:2]])
    write_vectors(tmp_path / "embeddings.safetensors", vectors.shape, [vectors])
    found = read(tmp_path, {**ROW_OF, "new": ITEMS, "newer": ITEMS + 1})
    assert found.counts.tolist() == [*stored.counts.tolist(), 0, 0]
    for name, baseline in found.baselines.items():
        scores = baseline.scores(HISTORIES)
        np.testing.assert_allclose(scores[:, :ITEMS], stored.baselines[name].scores(HISTORIES), err_msg=name)
        assert np.isfinite(scores[:, ITEMS:]).all() if name == "content-knn" else np.isinf(scores[:, ITEMS:]).all()


def test_what_cannot_be_read(stored: StoredBaselines, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes()[:-9])
    for name in ("cut.safetensors", "none.safetensors"):
        with pytest.raises(InputError, match=r"cannot be read .*Run it again"):
            read(tmp_path, ROW_OF, name)
    with pytest.raises(InputError, match="15 embeddings, but 16 items"):
        read(tmp_path, {**ROW_OF, "new": ITEMS})
