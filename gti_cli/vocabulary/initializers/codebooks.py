"""Initializer that carries the geometry of the codebooks over to the embedding space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gti_cli.errors import InputError, list_some
from gti_cli.tensors.matrix_rows import MatrixRows
from gti_cli.vocabulary.initializers.from_pretrained_rows import mean_row
from gti_cli.vocabulary.initializers.placement import AT_USUAL_DISTANCE, Placement, rms_distance, scale_to_norm
from gti_cli.vocabulary.initializers.texts import text
from gti_cli.vocabulary.tokens_to_add import TokensToAdd

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def codebook(
    rows: MatrixRows,
    tokens: TokensToAdd,
    tokenizer: PreTrainedTokenizerBase,
    placement: Placement = AT_USUAL_DISTANCE,
) -> torch.Tensor:
    """Rotate the codebook vectors into the embedding space, so that they come nearest to the rows of `text`.

    The rotation solves the orthogonal Procrustes problem (Schönemann 1966). Angles between codes are those of the
    codebooks, and the rotation as a whole follows the words of the items' texts. Lengths are as in `text`. Of a code
    space wider than the embedding space, the directions of largest overlap with `text` remain. scipy's
    ``orthogonal_procrustes`` is not used, because it needs two spaces of the same width.

    Args:
        rows: (V, d) pretrained rows.
        tokens: The n new tokens, with codebooks and texts.
        tokenizer: The tokenizer before the extension.
        placement: Distance from the mean of the pretrained rows.

    Returns:
        (n, d) float32.

    Raises:
        InputError: When there are no codebooks, they lack the vectors of some codes, or there are no texts.
    """
    if not tokens.codebooks:
        raise InputError("--init codebook needs the codebooks of semantic IDs", remedy="run 'gti build-ids' first")
    codes = torch.from_numpy(_vectors_of_codes(tokens))
    centre = mean_row(rows)
    target = text(rows, tokens, tokenizer).double() - centre
    left, _, right = torch.linalg.svd(codes.T @ target, full_matrices=False)
    norm = placement.distance * rms_distance(rows, centre)
    return (centre + scale_to_norm(codes @ (left @ right), norm)).float()


def _vectors_of_codes(tokens: TokensToAdd) -> npt.NDArray[np.float64]:
    """Return the codebook vectors (n, d_code) in the order of the tokens' names."""
    vectors = np.concatenate([np.asarray(level, np.float64) for level in tokens.codebooks])
    if len(vectors) != len(tokens.names):
        raise InputError(
            f"--init codebook needs a codebook vector for every code; the codebooks have {len(vectors):,} vectors for "
            f"{len(tokens.names):,} codes (none for {list_some(tokens.names[len(vectors) :])})",
            remedy="run 'gti build-ids' again, or use --init text-lstsq",
        )
    return vectors
