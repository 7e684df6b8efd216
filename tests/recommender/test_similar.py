"""Similar items against a loop over the catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gti_cli.errors import InputError
from gti_cli.recommender.similar import Neighbours
from gti_cli.tensors.vector_file import write_vectors


def shared_codes(first: np.ndarray, second: np.ndarray) -> int:
    count = 0
    while count < len(first) and first[count] == second[count]:
        count += 1
    return count


@pytest.mark.parametrize("k", [1, 4, 50])
def test_by_codes_and_by_embeddings(tmp_path: Path, k: int) -> None:
    rng = np.random.default_rng(k)
    codes = rng.integers(0, 3, (30, 3)).astype(np.int32)
    vectors = rng.normal(size=(30, 4)).astype(np.float32)
    vectors[3], vectors[8] = 0, vectors[9]  # no direction; the same direction
    path = tmp_path / "embeddings.safetensors"
    write_vectors(path, vectors.shape, [vectors])
    for row in (0, 3, 8):
        shared = [shared_codes(codes[row], other) for other in codes]
        others = [other for other in range(30) if other != row]
        rows, cosines, counts = Neighbours(codes, None).nearest(row, k)
        assert cosines is None and rows.tolist() == sorted(others, key=lambda other: (-shared[other], other))[:k]
        assert counts.tolist() == [shared[other] for other in rows]
        rows, cosines, counts = Neighbours(codes, path).nearest(row, k)
        lengths = [max(float(np.linalg.norm(vector)), 1e-9) for vector in vectors]
        exact = [float(vectors[row] @ vectors[n]) / lengths[row] / lengths[n] for n in range(30)]
        expected = sorted(others, key=lambda other: (-round(exact[other], 6), -shared[other], other))[:k]
        assert rows.tolist() == expected and cosines is not None
        np.testing.assert_allclose(cosines, [exact[other] for other in rows], atol=1e-5)


def test_embeddings_of_another_catalogue_are_refused(tmp_path: Path) -> None:
    write_vectors(tmp_path / "e.safetensors", (2, 3), [np.ones((2, 3), dtype=np.float32)])
    with pytest.raises(InputError, match="embeddings of 2 items, and the catalogue has 4"):
        Neighbours(np.zeros((4, 2), dtype=np.int32), tmp_path / "e.safetensors").nearest(0, 1)
