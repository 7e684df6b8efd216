"""Encode items as vectors: by LSA (no download), by a sentence-transformers model, or from their own column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.errors import InputError, list_some
from gti_cli.semantic_ids.catalogue import Catalogue
from gti_cli.semantic_ids.encoders import sampled_lsa
from gti_cli.semantic_ids.encoders.lsa_state import LSA_WIDTH, MOST_WORDS, LsaState, decompose, project
from gti_cli.semantic_ids.options import EncoderOptions
from gti_cli.tables import words
from gti_cli.tensors.vector_file import VectorFile, VectorRows, write_vectors

if TYPE_CHECKING:
    import torch
    from sklearn.feature_extraction.text import TfidfVectorizer

Vectors = npt.NDArray[np.float32]

LSA, COLUMN = "lsa", "column"
LSA_TERMS = 1 << 19  # the most words, word pairs and character n-grams


@dataclass(frozen=True)
class Encoded:
    """The embeddings of a catalogue.

    Attributes:
        vectors: (N, d) float32; a `VectorFile` where they were written to disk.
        counts: Entries for the manifest's ``counts``, e.g. ``texts_cut``.
        state: The fitted LSA, which encodes later items the same way; None for the other encoders.
        details: Entries for the manifest's ``details``: how an LSA was fitted, where it was on a sample.
        measured: Entries for what the manifest says of this run, on this machine: a model's ``batch_tokens``.
    """

    vectors: VectorRows
    counts: dict[str, int] = field(default_factory=dict)
    state: LsaState | None = None
    details: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, int] = field(default_factory=dict)


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
        store: Safetensors file to which ``column``, a model and, of a large catalogue, ``lsa`` write the vectors; None:
            return them in memory.

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
        large = len(catalogue) > sampled_lsa.WHOLE
        return encode_lsa_by_sample(catalogue, seed, store) if large else encode_lsa(catalogue, seed)
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
    Term frequencies are damped (1 + log tf). (Deerwester et al., JASIS 41(6), 1990.)

    Args:
        catalogue: The items.
        seed: Seed of the randomised SVD.
        width: The number of dimensions, capped by the number of items and of terms.

    Raises:
        InputError: When a text has no word.
    """
    grams = words.GRAMS if words.any_without_spaces(catalogue.texts) else None
    vectorizer = _vectorizer(grams, max_features=LSA_TERMS)
    try:
        weights = vectorizer.fit_transform(catalogue.texts)
    except ValueError:  # The vocabulary is empty.
        _refuse_wordless(catalogue, np.arange(len(catalogue)))
        raise
    _refuse_wordless(catalogue, np.flatnonzero(np.diff(weights.indptr) == 0))
    components = decompose(weights, width, seed)
    state = LsaState(list(vectorizer.get_feature_names_out()), vectorizer.idf_.astype(np.float32), components, grams)
    vectors, zeros = project(weights, components)
    if zeros:
        console.warn(f"{zeros:,} texts share no word with the others: LSA gives them all the same (zero) vector")
    counts = {"terms": len(state.terms), "texts_that_share_nothing": zeros}
    return Encoded(vectors, counts, state)


def encode_lsa_by_sample(catalogue: Catalogue, seed: int, store: Path | None) -> Encoded:
    """Encode by an LSA that is fitted on a sample of the texts, in fixed memory; a note and ``details`` say so.

    Args:
        catalogue: The items.
        seed: Seed of the sample and of the randomised SVD.
        store: Safetensors file for the vectors; None: return them in memory.

    Raises:
        InputError: When a text has no word.
    """
    _refuse_wordless(catalogue, _wordless_rows(catalogue))
    grams = words.GRAMS if words.any_without_spaces(catalogue.texts) else None
    fitted = sampled_lsa.fit(catalogue.texts, grams, seed)
    used = len(fitted.state.terms)
    console.note(
        f"lsa: more than {sampled_lsa.WHOLE:,} items, so it is fitted on a sample of {fitted.texts:,} texts, with the "
        f"{used:,} most frequent of their {fitted.terms:,} terms; then all items are encoded with it"
    )
    encoded = _encode_by_blocks(catalogue, fitted.state, store)
    sample = {"texts": fitted.texts, "terms": fitted.terms, "terms_used": used}
    return replace(encoded, counts={"terms": used, **encoded.counts}, details={"lsa_sample": sample})


def _encode_by_blocks(catalogue: Catalogue, state: LsaState, store: Path | None) -> Encoded:
    """Project all texts block by block, to the file ``store`` or into memory, and count those that become zero."""
    zeros: list[int] = []

    def vectors() -> Iterator[Vectors]:
        """The vectors of each block, while progress is shown."""
        with console.progress("Encoding with lsa", len(catalogue), "texts") as advance:
            for block, zeros_of_block in sampled_lsa.project_texts(catalogue.texts, state):
                zeros.append(zeros_of_block)
                advance(len(block))
                yield block

    rows: VectorRows
    if store is None:
        rows = np.concatenate(list(vectors()))
    else:
        write_vectors(store, (len(catalogue), len(state.components)), vectors())
        rows = VectorFile(store)
    _warn_of_zeros(sum(zeros))
    return Encoded(rows, {"texts_that_share_nothing": sum(zeros)}, state)


def encode_with_fitted_lsa(catalogue: Catalogue, state: LsaState) -> Encoded:
    """Encode later items with a fitted LSA; words outside its vocabulary are ignored."""
    _refuse_wordless(catalogue, _wordless_rows(catalogue))
    if len(catalogue) > sampled_lsa.WHOLE:
        return _encode_by_blocks(catalogue, state, None)
    vocabulary = {term: column for column, term in enumerate(state.terms)}
    vectorizer = _vectorizer(state.grams, vocabulary=vocabulary)
    vectorizer.idf_ = state.idf
    vectors, zeros = project(vectorizer.transform(catalogue.texts), state.components)
    _warn_of_zeros(zeros)
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
        options |= {"ngram_range": (1, MOST_WORDS), "token_pattern": words.ONE_CHARACTER_WORDS}
    else:
        options["analyzer"] = partial(words.terms, most_words=MOST_WORDS, grams=grams)
    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options)


def _warn_of_zeros(zeros: int) -> None:
    """Warn of texts of which a fitted LSA knows no term."""
    if zeros:
        console.warn(f"{zeros:,} texts have no word that the LSA knows: they all get the same (zero) vector")


def _wordless_rows(catalogue: Catalogue) -> npt.NDArray[np.intp]:
    """Row numbers of the texts without a word."""
    has_word = (re.search(r"\w", text) is not None for text in catalogue.texts)
    return np.flatnonzero(~np.fromiter(has_word, dtype=bool, count=len(catalogue)))


def _refuse_wordless(catalogue: Catalogue, rows: npt.NDArray[np.intp]) -> None:
    """Refuse items without a word, whose row numbers are ``rows``."""
    if len(rows):
        some = list_some([catalogue.item_ids[row] for row in rows])
        raise InputError(
            f"the texts of {len(rows):,} items contain no word (item_id {some})",
            where=f"{catalogue.path}, columns {', '.join(catalogue.text_columns)}, row {rows[0] + 1:,}",
            remedy="fill in a text or drop these rows",
        )
