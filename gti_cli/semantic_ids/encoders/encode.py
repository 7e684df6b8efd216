"""Texts to vectors: LSA (no download), any sentence-transformers model, or the vectors that come with the items."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.errors import InputError, examples
from gti_cli.geometry.threads import one_thread
from gti_cli.semantic_ids.catalogue import Catalogue
from gti_cli.semantic_ids.options import EncoderOptions
from gti_cli.tensors.vector_file import VectorFile, VectorRows, write_vectors

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]

LSA, COLUMN = "lsa", "column"
LSA_WIDTH = 256
LSA_TERMS = 1 << 19
_TFIDF: dict[str, Any] = {"ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b"}


@dataclass(frozen=True)
class Encoded:
    """The embeddings of a catalogue.

    Attributes:
        vectors: (N, d) float32; a `VectorFile` where they went to disk. counts: what was used and cut.
        state: arrays that encode later items the same way (`LsaState`); None where the encoder itself does.
    """

    vectors: VectorRows
    counts: dict[str, int] = field(default_factory=dict)
    state: LsaState | None = None


@dataclass(frozen=True)
class LsaState:
    """A fitted LSA: ``terms`` (T) in the order of the columns, ``idf`` (T,), ``components`` (d, T), all float32."""

    terms: list[str]
    idf: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As arrays for safetensors; the terms, which hold no line break, as UTF-8 bytes with one between them."""
        names = np.frombuffer("\n".join(self.terms).encode(), dtype=np.uint8)
        return {"lsa.terms": names, "lsa.idf": self.idf, "lsa.components": self.components}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> LsaState:
        """What `arrays` gave."""
        terms = arrays["lsa.terms"].tobytes().decode().split("\n")
        return cls(terms, arrays["lsa.idf"], arrays["lsa.components"])


def resolve_encoder(catalogue: Catalogue, encoder: str | None) -> str:
    """The encoder to use: as named, else the ``embedding`` column where there is one, else LSA.

    Raises:
        InputError: items that the encoder cannot encode (no text, no column).
    """
    chosen = encoder or (COLUMN if catalogue.has_embeddings else LSA)
    if chosen == COLUMN:
        catalogue.require_embeddings()
    else:
        catalogue.require_texts()
    return chosen


def encode(
    catalogue: Catalogue,
    encoder: str,
    seed: int,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    *,
    options: EncoderOptions | None = None,
    scratch: Path | None = None,
    store: Path | None = None,
) -> Encoded:
    """Encode all items with ``encoder`` (as `resolve_encoder` returned it).

    Args:
        catalogue: the items. encoder: ``lsa``, ``column``, or a sentence-transformers model by name or folder.
        seed: of LSA's randomised SVD. device, dtype, options: for a model.
        scratch: where a model's vectors are kept while it encodes, and from which an interrupted run goes on; processes
            of one launch (torchrun) share it, and the work.
        store: where ``column`` and a model write the vectors, as a safetensors file (None: they come in memory).

    Raises:
        InputError: bad vectors, texts without a word, a model that cannot be loaded, a missing package.
    """
    if encoder == COLUMN:
        if store is None:
            return Encoded(np.concatenate(list(catalogue.embedding_blocks())))
        write_vectors(store, (len(catalogue), catalogue.embedding_width()), catalogue.embedding_blocks())
        return Encoded(VectorFile(store))
    if encoder == LSA:
        return encode_lsa(catalogue, seed)
    from gti_cli.semantic_ids.encoders.text_model import TextModel, encode_texts

    model = TextModel(encoder, options or EncoderOptions(), device, dtype)
    vectors, counts = encode_texts(model, catalogue.texts, scratch)
    if store is None or not isinstance(vectors, VectorFile):
        return Encoded(vectors, counts)
    # What is in scratch stays there: an interruption later in the stage must not cost the encoding.
    return Encoded(vectors.also_at(store), counts)


def encode_lsa(catalogue: Catalogue, seed: int, width: int = LSA_WIDTH) -> Encoded:
    """Latent semantic analysis: TF-IDF of words and word pairs, truncated SVD, rows of length 1.

    Term frequencies are damped (1 + log tf). ``width`` is capped by the number of items and of terms. One BLAS thread,
    so that the same seed gives the same bytes whatever the number of cores. (Deerwester et al., JASIS 41(6), 1990;
    randomised SVD: Halko et al., SIAM Review 53(2), 2011.)
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(**_TFIDF, dtype=np.float32, max_features=LSA_TERMS)
    try:
        weights = vectorizer.fit_transform(catalogue.texts)
    except ValueError:  # an empty vocabulary
        _refuse_wordless(catalogue, np.arange(len(catalogue)))
        raise
    _refuse_wordless(catalogue, np.flatnonzero(np.diff(weights.indptr) == 0))
    rank = min(width, *weights.shape)
    with one_thread():
        if rank < min(weights.shape):
            svd = TruncatedSVD(rank, n_iter=4, random_state=seed % 2**32)
            components = svd.fit(weights).components_.astype(np.float32)
        else:  # as many dimensions as items or terms: the randomised method cannot, the exact one is cheap
            components = np.linalg.svd(weights.toarray(), full_matrices=False)[2].astype(np.float32)
    state = LsaState(list(vectorizer.get_feature_names_out()), vectorizer.idf_.astype(np.float32), components)
    vectors, alone = _project(weights, components)
    if alone:
        console.warn(f"{alone:,} texts share no word with the others: LSA gives them all the same (zero) vector")
    counts = {"terms": len(state.terms), "texts_that_share_nothing": alone}
    return Encoded(vectors, counts, state)


def encode_lsa_again(catalogue: Catalogue, state: LsaState) -> Encoded:
    """Encode later items with a fitted LSA; words that it does not know count for nothing."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    _refuse_wordless(catalogue, np.flatnonzero([not re.search(r"\w", text) for text in catalogue.texts]))
    vocabulary = {term: column for column, term in enumerate(state.terms)}
    vectorizer = TfidfVectorizer(**_TFIDF, dtype=np.float32, vocabulary=vocabulary)
    vectorizer.idf_ = state.idf
    vectors, alone = _project(vectorizer.transform(catalogue.texts), state.components)
    if alone:
        console.warn(f"{alone:,} texts have no word that the LSA knows: they all get the same (zero) vector")
    return Encoded(vectors, {"texts_that_share_nothing": alone}, state)


def _project(weights: Any, components: npt.NDArray[np.float32]) -> tuple[Vectors, int]:
    """Rows of length 1 and how many are zero: what the SVD leaves of a text of its own is noise, not a direction."""
    with one_thread():
        vectors = np.asarray(weights @ components.T, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    alone = norms[:, 0] < 1e-5
    vectors[alone] = 0.0
    return np.divide(vectors, norms, out=vectors, where=~alone[:, None]), int(alone.sum())


def _refuse_wordless(catalogue: Catalogue, rows: npt.NDArray[np.intp]) -> None:
    if len(rows):
        some = examples([catalogue.item_ids[row] for row in rows])
        raise InputError(
            f"the texts of {len(rows):,} items hold no word (item_id {some})",
            where=f"{catalogue.path}, columns {', '.join(catalogue.text_columns)}, row {rows[0] + 1:,}",
            remedy="fill in a text or drop these rows",
        )
