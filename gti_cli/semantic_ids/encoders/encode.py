"""Encode items as vectors: by LSA (no download), by a sentence-transformers model, or from their own column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.errors import InputError, list_some
from gti_cli.geometry.threads import one_thread
from gti_cli.semantic_ids.catalogue import Catalogue
from gti_cli.semantic_ids.options import EncoderOptions
from gti_cli.tables import words
from gti_cli.tensors.vector_file import VectorFile, VectorRows, write_vectors

if TYPE_CHECKING:
    import torch
    from sklearn.feature_extraction.text import TfidfVectorizer

Vectors = npt.NDArray[np.float32]

LSA, COLUMN = "lsa", "column"
LSA_WIDTH = 256
LSA_TERMS = 1 << 19  # the most words, word pairs and character n-grams
_MOST_WORDS = 2  # longest run of words that is a term


@dataclass(frozen=True)
class Encoded:
    """The embeddings of a catalogue.

    Attributes:
        vectors: (N, d) float32; a `VectorFile` where they were written to disk.
        counts: Entries for the manifest's ``counts``, e.g. ``texts_cut``.
        state: The fitted LSA, which encodes later items the same way; None for the other encoders.
        measured: Entries for what the manifest says of this run, on this machine: a model's ``batch_tokens``.
    """

    vectors: VectorRows
    counts: dict[str, int] = field(default_factory=dict)
    state: LsaState | None = None
    measured: dict[str, int] = field(default_factory=dict)


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


def resolve_encoder(catalogue: Catalogue, encoder: str | None) -> str:
    """Choose the encoder: as named, else the ``embedding`` column where there is one, else LSA.

    Raises:
        InputError: When the encoder cannot encode the items (a text or the column is missing).
    """
    resolved = encoder or (COLUMN if catalogue.has_embeddings else LSA)
    if resolved == COLUMN:
        catalogue.require_embeddings()
    else:
        catalogue.require_texts()
    return resolved


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
    """Encode all items.

    Args:
        catalogue: The items.
        encoder: ``lsa``, ``column``, or a sentence-transformers model by name or folder, from `resolve_encoder`.
        seed: Seed of LSA's randomised SVD.
        device: Where a model runs.
        dtype: Number format of a model.
        options: Options of a model.
        scratch: Folder for a model's vectors while it encodes, from which an interrupted run resumes. The processes of
            a launch (torchrun) share the folder and the work.
        store: Safetensors file to which ``column`` and a model write the vectors; None: return them in memory.

    Raises:
        InputError: When given vectors are invalid, a text has no word, a model cannot be loaded, or a package is
            missing.
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
        return Encoded(vectors, counts, measured={"batch_tokens": model.batch_tokens})
    # A second link, not a move: the file stays in scratch, so that an interruption later in the stage does not cost
    # the encoding.
    return Encoded(vectors.also_at(store), counts, measured={"batch_tokens": model.batch_tokens})


def encode_lsa(catalogue: Catalogue, seed: int, width: int = LSA_WIDTH) -> Encoded:
    """Encode by latent semantic analysis: TF-IDF of words and word pairs, truncated SVD, rows of length 1.

    Scripts that write no spaces between words give character n-grams instead of words (`words.terms`).
    Term frequencies are damped (1 + log tf). (Deerwester et al., JASIS 41(6), 1990; randomised SVD: Halko et al., SIAM
    Review 53(2), 2011.)

    Args:
        catalogue: The items.
        seed: Seed of the randomised SVD.
        width: The number of dimensions, capped by the number of items and of terms.

    Raises:
        InputError: When a text has no word.
    """
    from sklearn.decomposition import TruncatedSVD

    grams = words.GRAMS if words.any_without_spaces(catalogue.texts) else None
    vectorizer = _vectorizer(grams, max_features=LSA_TERMS)
    try:
        weights = vectorizer.fit_transform(catalogue.texts)
    except ValueError:  # The vocabulary is empty.
        _refuse_wordless(catalogue, np.arange(len(catalogue)))
        raise
    _refuse_wordless(catalogue, np.flatnonzero(np.diff(weights.indptr) == 0))
    rank = min(width, *weights.shape)
    with one_thread():  # One BLAS thread: the same seed gives the same bytes on any number of cores.
        if rank < min(weights.shape):
            svd = TruncatedSVD(rank, n_iter=4, random_state=seed % 2**32)
            components = svd.fit(weights).components_.astype(np.float32)
        else:  # The randomised SVD needs fewer dimensions than items and terms; here the exact one is cheap.
            components = np.linalg.svd(weights.toarray(), full_matrices=False)[2].astype(np.float32)
    state = LsaState(list(vectorizer.get_feature_names_out()), vectorizer.idf_.astype(np.float32), components, grams)
    vectors, zeros = _project(weights, components)
    if zeros:
        console.warn(f"{zeros:,} texts share no word with the others: LSA gives them all the same (zero) vector")
    counts = {"terms": len(state.terms), "texts_that_share_nothing": zeros}
    return Encoded(vectors, counts, state)


def encode_with_fitted_lsa(catalogue: Catalogue, state: LsaState) -> Encoded:
    """Encode later items with a fitted LSA; words outside its vocabulary are ignored."""
    _refuse_wordless(catalogue, np.flatnonzero([not re.search(r"\w", text) for text in catalogue.texts]))
    vocabulary = {term: column for column, term in enumerate(state.terms)}
    vectorizer = _vectorizer(state.grams, vocabulary=vocabulary)
    vectorizer.idf_ = state.idf
    vectors, zeros = _project(vectorizer.transform(catalogue.texts), state.components)
    if zeros:
        console.warn(f"{zeros:,} texts have no word that the LSA knows: they all get the same (zero) vector")
    return Encoded(vectors, {"texts_that_share_nothing": zeros}, state)


def _vectorizer(grams: tuple[int, int] | None, **options: Any) -> TfidfVectorizer:
    """Make the counter of terms.

    Args:
        grams: Lengths of the character n-grams of scripts without spaces; None where no text has such a script, so that
            the library's own splitting into words will do.
        **options: Further options of the library's vectorizer.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if grams is None:
        options |= {"ngram_range": (1, _MOST_WORDS), "token_pattern": words.ONE_CHARACTER_WORDS}
    else:
        options["analyzer"] = partial(words.terms, most_words=_MOST_WORDS, grams=grams)
    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options)


def _project(weights: Any, components: npt.NDArray[np.float32]) -> tuple[Vectors, int]:
    """Project TF-IDF rows (N, T) onto the components: (N, d) rows of length 1, and how many of them are zero."""
    with one_thread():
        vectors = np.asarray(weights @ components.T, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A text that shares no term with others projects to rounding noise; scaled to length 1, it would get a random
    # direction, so it becomes zero.
    noise = norms[:, 0] < 1e-5
    vectors[noise] = 0.0
    return np.divide(vectors, norms, out=vectors, where=~noise[:, None]), int(noise.sum())


def _refuse_wordless(catalogue: Catalogue, rows: npt.NDArray[np.intp]) -> None:
    """Refuse items without a word, whose row numbers are ``rows``."""
    if len(rows):
        some = list_some([catalogue.item_ids[row] for row in rows])
        raise InputError(
            f"the texts of {len(rows):,} items contain no word (item_id {some})",
            where=f"{catalogue.path}, columns {', '.join(catalogue.text_columns)}, row {rows[0] + 1:,}",
            remedy="fill in a text or drop these rows",
        )
