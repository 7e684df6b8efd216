"""Where the new rows start, whichever way a checkpoint is extended, and what is said about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError
from gti_cli.geometry.spectrum import both_spectra, effective_rank
from gti_cli.tensors.matrix_rows import MatrixRows, blocks
from gti_cli.vocabulary.initializers import INITIALIZERS, mean
from gti_cli.vocabulary.meaning import AT_USUAL_DISTANCE, FROM_MEANING, Meanings, Placement

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STARTS = (*INITIALIZERS, *FROM_MEANING)


def default_start(meanings: Meanings) -> str:
    """The start that did best where it was measured (`tests/benchmarks/study`), of those that ``meanings`` allow.

    ``text-lstsq`` for semantic IDs whose items have texts, ``text`` for words of which two descriptions or more differ
    (it is about what sets them apart), and ``mean`` where nothing is known.
    """
    if any(meanings.texts):
        return "text-lstsq"
    return "text" if len(set(filter(None, meanings.descriptions))) > 1 else "mean"


@dataclass(frozen=True)
class Start:
    """The new rows of one matrix.

    Attributes:
        rows: (n, d) as they are stored. norm, pretrained_norm: mean length of a new and of a pretrained row.
    """

    rows: torch.Tensor
    norm: float
    pretrained_norm: float

    def metrics(self) -> dict[str, float]:
        """For the manifest; the effective rank is of the rows as they are, not centred."""
        return {
            "new_rows_effective_rank": effective_rank(both_spectra(self.rows.numpy())[0]),
            "new_rows_norm": self.norm,
            "pretrained_rows_norm": self.pretrained_norm,
        }


@dataclass(frozen=True)
class Extension:
    """What an extension did.

    Attributes:
        tokens: the new ones. starts: their rows in the input matrix and, where untied, the output matrix.
        rows_before, rows: heights of the matrices. dtype: in which the input matrix is stored.
        counts: what else is worth counting.
    """

    tokens: NewTokens
    starts: list[Start]
    rows_before: int
    rows: int
    dtype: torch.dtype
    counts: dict[str, int]

    @property
    def from_reserve(self) -> int:
        """New tokens that took rows which a padded vocabulary held in reserve."""
        return int((self.tokens.ids < self.rows_before).sum())

    def metrics(self) -> dict[str, float]:
        """For the manifest: of the input matrix, and with ``head_`` before the name of an untied output matrix."""
        found = self.starts[0].metrics()
        for start in self.starts[1:]:
            found.update({f"head_{name}": value for name, value in start.metrics().items()})
        return found


def start_rows(
    matrices: Sequence[MatrixRows],
    meanings: Meanings,
    tokenizer: PreTrainedTokenizerBase,
    init: str,
    generator: torch.Generator,
    how: Placement = AT_USUAL_DISTANCE,
) -> list[torch.Tensor]:
    """New rows (n, d) float32 for each of ``matrices`` (V, d), the rows that ``tokenizer`` knows before it grows.

    Before, because a description must not become the token that it describes. Structural tokens start from the mean.

    Raises:
        InputError: a row is NaN or infinite, or what ``init`` needs is missing.
    """
    for rows, matrix in zip(matrices, ("input", "output"), strict=False):
        _check_finite(rows, tokenizer, matrix)
    if init in FROM_MEANING:
        found = [FROM_MEANING[init](rows, meanings, tokenizer, how) for rows in matrices]
    else:
        found = [INITIALIZERS[init](rows, len(meanings.names), generator) for rows in matrices]
    if not meanings.structural:
        return found
    count = len(meanings.structural)
    return [torch.cat([start, mean(rows, count, generator)]) for start, rows in zip(found, matrices, strict=True)]


def _check_finite(rows: MatrixRows, tokenizer: PreTrainedTokenizerBase, matrix: str) -> None:
    """Every start is computed from the old rows, and one that is no number would spoil all new ones."""
    bad: list[int] = []
    at = 0
    for block in blocks(rows):
        bad += (at + torch.nonzero(~torch.isfinite(block).all(dim=1)).flatten()).tolist()
        at += len(block)
    if bad:
        name = tokenizer.convert_ids_to_tokens(bad[0])
        raise InputError(
            f"the row of token {name!r} in the model's {matrix} matrix holds NaN or infinity ({len(bad):,} rows do)",
            where=f"row {bad[0]}",
            remedy="download or copy the model again",
        )


def describe_start(rows: torch.Tensor, known: MatrixRows, dtype: torch.dtype) -> Start:
    """How new ``rows`` (n, d), once stored as ``dtype``, lie beside the ``known`` ones."""
    stored = rows.to(dtype).float()
    total = sum(float(block.norm(dim=1).sum(dtype=torch.float64)) for block in blocks(known))
    return Start(stored, float(stored.double().norm(dim=1).mean()), total / len(known))
