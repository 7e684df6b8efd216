"""Initialize the new rows of a checkpoint's matrices, and describe them beside the pretrained rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError
from gti_cli.geometry.spectrum import both_spectra, effective_rank
from gti_cli.tensors.matrix_rows import MatrixRows, blocks
from gti_cli.vocabulary.initializers.codebooks import codebook
from gti_cli.vocabulary.initializers.from_pretrained_rows import FROM_PRETRAINED, mean
from gti_cli.vocabulary.initializers.placement import AT_USUAL_DISTANCE, Placement
from gti_cli.vocabulary.initializers.texts import subword, text, text_lstsq, text_permuted
from gti_cli.vocabulary.tokens_to_add import TokensToAdd

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Initializers that use what is known about the new tokens, by their names in --init.
FROM_MEANING: dict[str, Callable[[MatrixRows, TokensToAdd, Any, Placement], torch.Tensor]] = {
    "subword": subword,
    "text": text,
    "text-lstsq": text_lstsq,
    "text-permuted": text_permuted,
    "codebook": codebook,
}
USE_DISTANCE = ("text", "text-lstsq", "text-permuted", "codebook")  # initializers that heed --distance
FROM_TEXTS = ("subword", "text", "text-lstsq", "text-permuted")  # initializers that tokenise texts
INITIALIZERS = (*FROM_PRETRAINED, *FROM_MEANING)


def default_initializer(tokens: TokensToAdd) -> str:
    """Choose the initializer that did best in the measurements of `tests/benchmarks/study`.

    Returns:
        ``text-lstsq`` for semantic IDs whose items have texts; ``text`` for tokens with at least two different
        descriptions, because it is built from their differences; else ``mean``.
    """
    if any(tokens.item_texts):
        return "text-lstsq"
    return "text" if len(set(filter(None, tokens.descriptions))) > 1 else "mean"


@dataclass(frozen=True)
class InitializedRows:
    """The new rows of one matrix.

    Attributes:
        rows: (n, d) float32, with the values that are stored.
        norm: Mean norm of the new rows.
        pretrained_norm: Mean norm of the pretrained rows.
    """

    rows: torch.Tensor
    norm: float
    pretrained_norm: float

    def metrics(self) -> dict[str, float]:
        """Return the figures for the manifest; the effective rank is of the rows without subtracting their mean."""
        return {
            "new_rows_effective_rank": effective_rank(both_spectra(self.rows.numpy())[0]),
            "new_rows_norm": self.norm,
            "pretrained_rows_norm": self.pretrained_norm,
        }


@dataclass(frozen=True)
class Extension:
    """What an extension did to a checkpoint.

    Attributes:
        tokens: The new tokens with their ids.
        new_rows: New rows of the input embedding and, where it is untied, of the output head.
        rows_before: Number of rows of the matrices before.
        rows: Number of rows of the matrices after.
        dtype: Number format in which the input embedding is stored.
        counts: Further counts for the manifest.
    """

    tokens: NewTokens
    new_rows: list[InitializedRows]
    rows_before: int
    rows: int
    dtype: torch.dtype
    counts: dict[str, int]

    @property
    def from_reserve(self) -> int:
        """Number of new tokens that took unused rows of a padded vocabulary."""
        return int((self.tokens.ids < self.rows_before).sum())

    def metrics(self) -> dict[str, float]:
        """Return the figures for the manifest; those of an untied output head have the prefix ``head_``."""
        metrics = self.new_rows[0].metrics()
        for new_rows in self.new_rows[1:]:
            metrics.update({f"head_{name}": value for name, value in new_rows.metrics().items()})
        return metrics


def initialize_rows(
    matrices: Sequence[MatrixRows],
    tokens: TokensToAdd,
    tokenizer: PreTrainedTokenizerBase,
    init: str,
    generator: torch.Generator,
    placement: Placement = AT_USUAL_DISTANCE,
) -> list[torch.Tensor]:
    """Compute the new rows of each matrix.

    Structural tokens get the mean row, whatever the initializer.

    Args:
        matrices: Pretrained rows (V, d) of the input embedding and, where it is untied, of the output head.
        tokens: The n new tokens.
        tokenizer: The tokenizer before it gains the tokens, so that no description is read as the token that it
            describes.
        init: One of `INITIALIZERS`.
        generator: Random generator of the initializers that draw.
        placement: Where the initializers from texts and codebooks put their rows.

    Returns:
        (n, d) float32 for each matrix.

    Raises:
        InputError: When a pretrained row is not finite, or the initializer lacks texts, descriptions or codebooks.
    """
    for rows, matrix in zip(matrices, ("input", "output"), strict=False):
        _check_finite(rows, tokenizer, matrix)
    if init in FROM_MEANING:
        new_rows = [FROM_MEANING[init](rows, tokens, tokenizer, placement) for rows in matrices]
    else:
        new_rows = [FROM_PRETRAINED[init](rows, len(tokens.names), generator) for rows in matrices]
    if not tokens.structural:
        return new_rows
    count = len(tokens.structural)
    return [torch.cat([new, mean(rows, count, generator)]) for new, rows in zip(new_rows, matrices, strict=True)]


def _check_finite(rows: MatrixRows, tokenizer: PreTrainedTokenizerBase, matrix: str) -> None:
    """Refuse pretrained rows with NaN or infinity: each initializer averages over them, so one spoils all new rows."""
    bad: list[int] = []
    first = 0
    for block in blocks(rows):
        bad += (first + torch.nonzero(~torch.isfinite(block).all(dim=1)).flatten()).tolist()
        first += len(block)
    if bad:
        name = tokenizer.convert_ids_to_tokens(bad[0])
        raise InputError(
            f"the row of token {name!r} in the model's {matrix} matrix holds NaN or infinity ({len(bad):,} rows do)",
            where=f"row {bad[0]}",
            remedy="download or copy the model again",
        )


def describe_new_rows(rows: torch.Tensor, pretrained: MatrixRows, dtype: torch.dtype) -> InitializedRows:
    """Describe new rows (n, d) as they will be after storing them.

    Args:
        rows: (n, d) float32.
        pretrained: (V, d), the pretrained rows of the same matrix.
        dtype: Number format in which the rows are stored.
    """
    stored = rows.to(dtype).float()
    total = sum(float(block.norm(dim=1).sum(dtype=torch.float64)) for block in blocks(pretrained))
    return InitializedRows(stored, float(stored.double().norm(dim=1).mean()), total / len(pretrained))
