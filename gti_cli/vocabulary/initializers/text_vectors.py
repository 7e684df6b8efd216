"""Vectors of the texts about each new token: weighted means of their words' pretrained rows.

All sums over texts are products of sparse matrices, so that neither the texts' vectors (N, d) nor the pretrained rows
(V, d) are ever held in memory as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gti_cli.errors import InputError
from gti_cli.prompts.text_as_data import encode_texts
from gti_cli.tensors.matrix_rows import MatrixRows
from gti_cli.vocabulary.initializers.from_pretrained_rows import mean_row
from gti_cli.vocabulary.tokens_to_add import TokensToAdd

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from transformers import PreTrainedTokenizerBase

_MAX_TEXT_TOKENS = 2048  # of one text, as many as the paper encodes of an item
_ROWS_AT_A_TIME = 8192  # pretrained rows that are converted to float64 at a time


@dataclass(frozen=True)
class TextVectors:
    """What the texts about n tokens say, as vectors in the space of the pretrained rows.

    Attributes:
        centre: (d,) float64, the mean of the pretrained rows.
        contrast: (n, d) float64, for each token the mean vector of its texts less the mean over its level; zero for
            tokens without a text.
        incidence: (n, N) sparse, 1 where a text is about a token and has words, else 0.
        counts: (n,) float64, number of texts about each token.
    """

    centre: torch.Tensor
    contrast: torch.Tensor
    incidence: csr_matrix
    counts: npt.NDArray[np.float64]


def text_vectors(rows: MatrixRows, tokens: TokensToAdd, tokenizer: PreTrainedTokenizerBase) -> TextVectors:
    """Compute for each token how its texts differ from all texts.

    A text's vector is the mean of its words' pretrained rows, less the mean of all pretrained rows. Words are weighted
    by their rarity.

    Args:
        rows: (V, d) pretrained rows of the words.
        tokens: The n new tokens, with the texts of their items or with descriptions.
        tokenizer: The tokenizer before the extension; its words have the ids of ``rows``.

    Raises:
        InputError: When no token has a text.
    """
    word_weights, incidence, counts = _word_weights(tokens, tokenizer, len(rows))
    centre = mean_row(rows)
    # (n, V) weights of each word in each token's mean text, in one sparse product: the texts' vectors never exist.
    weights = (_normalize_rows(incidence) @ word_weights).tocsc()
    vectors = torch.zeros(weights.shape[0], rows.shape[1], dtype=torch.float64)
    used_words = np.flatnonzero(np.diff(weights.indptr))
    for start in range(0, len(used_words), _ROWS_AT_A_TIME):
        words = used_words[start : start + _ROWS_AT_A_TIME]
        block = rows[torch.from_numpy(words)].double() - centre
        vectors += torch.from_numpy(weights[:, words] @ block.numpy())
    has_texts = torch.from_numpy(counts > 0)
    vectors[has_texts] -= _level_means(tokens, vectors, torch.from_numpy(counts))[has_texts]
    return TextVectors(centre, vectors, incidence, counts)


def levels_of(tokens: TokensToAdd) -> torch.Tensor:
    """Return the level (n,) of each token; 0 for tokens that are not codes, and for codes that no item has."""
    levels = torch.zeros(len(tokens.names), dtype=torch.int64)
    if tokens.item_tokens is not None:
        for level, tokens_of_level in enumerate(tokens.item_tokens.T):
            levels[torch.from_numpy(tokens_of_level)] = level
    return levels


def _level_means(tokens: TokensToAdd, vectors: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return for each token the mean (n, d) of ``vectors`` (n, d) over its level, weighted by ``counts`` (n,).

    Each item has one code in each level, so this is the mean over all items' texts.
    """
    level_of = levels_of(tokens)
    levels = 1 if tokens.item_tokens is None else tokens.item_tokens.shape[1]
    sums = torch.zeros(levels, vectors.shape[1], dtype=torch.float64).index_add_(0, level_of, vectors * counts[:, None])
    weights = torch.zeros(levels, dtype=torch.float64).index_add_(0, level_of, counts)
    return (sums / weights.clamp(min=1)[:, None])[level_of]


def _word_weights(
    tokens: TokensToAdd, tokenizer: PreTrainedTokenizerBase, vocabulary: int
) -> tuple[csr_matrix, csr_matrix, npt.NDArray[np.float64]]:
    """Count the words of all texts.

    Returns:
        (N, V) weights of the words in each text, summing to 1; (n, N) incidence and (n,) counts as in `TextVectors`.

    Raises:
        InputError: When no token has a text.
    """
    from scipy.sparse import coo_matrix

    texts, text_tokens = tokens.item_texts, tokens.item_tokens
    if text_tokens is None:
        # Tokens that are not codes: the description of each is its one text.
        texts, text_tokens = tokens.descriptions, np.arange(len(tokens.descriptions))[:, None]
    if not any(texts):
        raise InputError(
            "--init text needs texts, and there are none",
            remedy="use it with semantic IDs, or add a column `description` to --tokens",
        )
    word_ids = [ids[:_MAX_TEXT_TOKENS] for ids in encode_texts(tokenizer, texts)[0]]
    lengths = [len(ids) for ids in word_ids]
    words = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in word_ids])
    text_of_word = np.repeat(np.arange(len(texts)), lengths)
    # Converting to CSR adds up the ones of a word that occurs several times in a text.
    occurrences = coo_matrix((np.ones(len(words)), (text_of_word, words)), shape=(len(texts), vocabulary)).tocsr()
    texts_with_word = np.bincount(occurrences.indices, minlength=vocabulary)
    # The rarity of a word that every text has is 0. The small constant lets a single text's words weigh the same.
    rarity = np.log((1 + len(texts)) / (1 + texts_with_word)) + 1e-6
    weighted = occurrences.multiply(rarity).tocsr()
    text_index = np.repeat(np.arange(len(texts)), text_tokens.shape[1])
    has_words = np.asarray([length > 0 for length in lengths])[text_index]
    shape = (len(tokens.names), len(texts))
    incidence = coo_matrix((has_words.astype(np.float64), (text_tokens.ravel(), text_index)), shape=shape).tocsr()
    return _normalize_rows(weighted), incidence, np.asarray(incidence.sum(1)).ravel()


def _normalize_rows(matrix: csr_matrix) -> csr_matrix:
    """Divide each row of a non-negative matrix by its sum; rows of zeros stay."""
    from scipy.sparse import diags

    sums = np.asarray(matrix.sum(1)).ravel()
    return (diags(np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)) @ matrix).tocsr()
