"""Initializers that turn texts about the new tokens into rows, without training.

Each takes the pretrained rows (V, d) of one matrix, so that an untied output head starts from its own rows of the
texts' words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gti_cli.errors import InputError, list_some
from gti_cli.prompts.text_as_data import encode_texts
from gti_cli.tensors.matrix_rows import MatrixRows
from gti_cli.vocabulary.initializers.placement import AT_USUAL_DISTANCE, Placement, rms_distance, scale_to_norm
from gti_cli.vocabulary.initializers.text_vectors import levels_of, text_vectors
from gti_cli.vocabulary.tokens_to_add import TokensToAdd

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from transformers import PreTrainedTokenizerBase


def subword(
    rows: MatrixRows,
    tokens: TokensToAdd,
    tokenizer: PreTrainedTokenizerBase,
    placement: Placement = AT_USUAL_DISTANCE,
) -> torch.Tensor:
    """Set each row to the mean of the rows of its description's words.

    Args:
        rows: (V, d) pretrained rows.
        tokens: The n new tokens, each with a description.
        tokenizer: The tokenizer before the extension, so that no description contains a new token.
        placement: Not used: a mean of pretrained rows stays where it is.

    Returns:
        (n, d) float32.

    Raises:
        InputError: When a token has no description.
    """
    undescribed = [name for name, text in zip(tokens.names, tokens.descriptions, strict=False) if not text]
    if undescribed or not tokens.descriptions:
        raise InputError(
            f"--init subword needs a description of every token; {list_some(undescribed or tokens.names)} have none",
            remedy="add a column `description` to --tokens; for semantic IDs use --init text",
        )
    word_ids, _ = encode_texts(tokenizer, tokens.descriptions)
    return torch.stack([rows[torch.tensor(ids)].float().mean(0) for ids in word_ids])


def text(
    rows: MatrixRows,
    tokens: TokensToAdd,
    tokenizer: PreTrainedTokenizerBase,
    placement: Placement = AT_USUAL_DISTANCE,
) -> torch.Tensor:
    """Set each code's row to how the texts of its items differ from the texts of all items.

    The vector of a text is the mean of its words' pretrained rows, weighted by their rarity: log(N / number of items
    with the word). A code's direction is the mean vector of its items' texts less the mean over all items. The row lies
    in this direction from the mean of the pretrained rows, at ``placement.distance`` times their root mean square
    distance. Codes without items get the mean. For tokens that are not codes the descriptions are the texts.

    Args:
        rows: (V, d) pretrained rows.
        tokens: The n new tokens.
        tokenizer: The tokenizer before the extension.
        placement: Distance from the mean of the pretrained rows.

    Returns:
        (n, d) float32.

    Raises:
        InputError: When no token has a text.
    """
    vectors = text_vectors(rows, tokens, tokenizer)
    norm = placement.distance * rms_distance(rows, vectors.centre)
    return (vectors.centre + scale_to_norm(vectors.contrast, norm)).float()


def text_permuted(
    rows: MatrixRows,
    tokens: TokensToAdd,
    tokenizer: PreTrainedTokenizerBase,
    placement: Placement = AT_USUAL_DISTANCE,
) -> torch.Tensor:
    """Shuffle the rows of `text` among the codes of each level, as a control for studies.

    Spectrum and norms are those of `text`, but each row describes another code. What a model gains from `text` over
    this, it gains from meaning. Arguments and result are as of `text`; ``placement.seed`` seeds the shuffle.
    """
    text_rows = text(rows, tokens, tokenizer, placement)
    generator = torch.Generator().manual_seed(placement.seed)
    level_of = levels_of(tokens)
    shuffled = text_rows.clone()
    for level in range(int(level_of.max()) + 1):
        in_level = torch.nonzero(level_of == level).flatten()
        shuffled[in_level] = text_rows[in_level[torch.randperm(len(in_level), generator=generator)]]
    return shuffled


def text_lstsq(
    rows: MatrixRows,
    tokens: TokensToAdd,
    tokenizer: PreTrainedTokenizerBase,
    placement: Placement = AT_USUAL_DISTANCE,
) -> torch.Tensor:
    """Choose the rows of all codes together, so that the codes of an item sum to the vector of its text.

    This is a ridge regression: the minimum over R of |A R - T|^2 + |R|^2, where A (N, n) is 1 where an item has a code
    and T (N, d) holds the vectors of the items' texts less their mean. So a second level adds what the first leaves
    open, where in `text` it repeats the first. One factor for all rows brings their root mean square to the distance at
    which `text` puts them, which keeps the proportions of the sums.

    Arguments, result and errors are as of `text`.
    """
    vectors = text_vectors(rows, tokens, tokenizer)
    # A^T T without T: for each code the sum over its items is their mean times their number.
    target = vectors.contrast.numpy() * vectors.counts[:, None]
    solution = torch.from_numpy(_solve_ridge((vectors.incidence @ vectors.incidence.T).tocsr(), target))
    rms = float(solution.square().sum(1)[torch.from_numpy(vectors.counts > 0)].mean().sqrt())
    factor = placement.distance * rms_distance(rows, vectors.centre) / max(rms, 1e-300)
    return (vectors.centre + solution * factor).float()


def _solve_ridge(gram: csr_matrix, target: npt.NDArray[np.float64], tolerance: float = 1e-9) -> npt.NDArray[np.float64]:
    """Solve (gram + 1) R = target by conjugate gradients (Hestenes & Stiefel 1952), for all columns of (n, d) at once.

    The eigenvalues of gram + 1 lie between 1 and 1 plus the number of levels times the number of items of the most
    frequent code, so this converges in tens of steps. It stops when every column's residual is below ``tolerance`` of
    its target. scipy's ``cg`` solves one column at a time, and so would multiply by the matrix d times as often.
    """
    solution = np.zeros_like(target)
    residual, direction = target.copy(), target.copy()
    squared = (residual**2).sum(0)
    goal = tolerance**2 * squared
    for _ in range(10 * len(target)):
        if (squared <= goal).all():
            break
        product = gram @ direction + direction
        # Columns that are solved exactly have direction 0: their step is 0, and not 0 / 0.
        curvature = (direction * product).sum(0)
        step = np.divide(squared, curvature, out=np.zeros_like(squared), where=curvature > 0)
        solution += step * direction
        residual -= step * product
        before, squared = squared, (residual**2).sum(0)
        direction = residual + np.divide(squared, before, out=np.zeros_like(squared), where=before > 0) * direction
    return solution
