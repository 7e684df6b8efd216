"""What latent semantic analysis learns from texts, and the two steps that its exact and its sampled fit share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.geometry.threads import one_thread

Vectors = npt.NDArray[np.float32]

LSA_WIDTH = 256
MOST_WORDS = 2  # longest run of words that is a term


@dataclass(frozen=True)
class LsaState:
    """A fitted LSA.

    Attributes:
        terms: T words, word pairs and character n-grams, in the order of the columns of the TF-IDF matrix.
        idf: (T,) inverse document frequencies.
        components: (d, T) right singular vectors.
        grams: Lengths of the shortest and the longest character n-gram of scripts without spaces (`words.terms`). None:
            the texts had no such script, or the state is from before they were treated apart.
    """

    terms: list[str]
    idf: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]
    grams: tuple[int, int] | None = None

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The state as arrays for safetensors; the terms, which contain no line break, are joined by one, in UTF-8."""
        names = np.frombuffer("\n".join(self.terms).encode(), dtype=np.uint8)
        arrays: dict[str, npt.NDArray[Any]] = {
            "lsa.terms": names,
            "lsa.idf": self.idf,
            "lsa.components": self.components,
        }
        return arrays if self.grams is None else {**arrays, "lsa.grams": np.asarray(self.grams, dtype=np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> LsaState:
        """The inverse of `arrays`."""
        terms = arrays["lsa.terms"].tobytes().decode().split("\n")
        grams = tuple(arrays["lsa.grams"].tolist()) if "lsa.grams" in arrays else None
        return cls(terms, arrays["lsa.idf"], arrays["lsa.components"], grams)


def decompose(weights: Any, width: int, seed: int) -> npt.NDArray[np.float32]:
    """The right singular vectors of TF-IDF rows.

    Randomised SVD: Halko et al., SIAM Review 53(2), 2011.

    Args:
        weights: (N, T) sparse.
        width: The number of dimensions, capped by N and T.
        seed: Seed of the randomised SVD.

    Returns:
        (d, T) float32.
    """
    from sklearn.decomposition import TruncatedSVD

    rank = min(width, *weights.shape)
    with one_thread():  # One BLAS thread: the same seed gives the same bytes on any number of cores.
        if rank < min(weights.shape):
            svd = TruncatedSVD(rank, n_iter=4, random_state=seed % 2**32)
            return np.asarray(svd.fit(weights).components_, dtype=np.float32)
        # The randomised SVD needs fewer dimensions than items and terms; here the exact one is cheap.
        return np.asarray(np.linalg.svd(weights.toarray(), full_matrices=False)[2], dtype=np.float32)


def project(weights: Any, components: npt.NDArray[np.float32]) -> tuple[Vectors, int]:
    """Project TF-IDF rows (N, T) onto the components: (N, d) rows of length 1, and how many of them are zero."""
    with one_thread():
        vectors = np.asarray(weights @ components.T, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A text that shares no term with others projects to rounding noise; scaled to length 1, it would get a random
    # direction, so it becomes zero.
    noise = norms[:, 0] < 1e-5
    vectors[noise] = 0.0
    return np.divide(vectors, norms, out=vectors, where=~noise[:, None]), int(noise.sum())
