"""How the new rows of an embedding matrix start, from the pretrained rows alone.

Every function takes the pretrained rows (V, d), how many rows are wanted and a generator, and returns (n, d) float32.
The rows are read in blocks and never held whole: they may lie in a file.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from gti_cli.tensors.matrix_rows import MatrixRows, blocks

Initializer = Callable[[MatrixRows, int, torch.Generator], torch.Tensor]


def mean_row(rows: MatrixRows) -> torch.Tensor:
    """Mean (d,) of ``rows`` (V, d), in float64, block by block; a hundredth of the work of `moments`."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for block in blocks(rows):
        total += block.sum(0, dtype=torch.float64)
    return total / len(rows)


def moments(rows: MatrixRows) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (d,) and covariance (d, d) of ``rows`` (V, d), in float64, block by block."""
    width = rows.shape[1]
    mean = mean_row(rows)
    covariance = torch.zeros(width, width, dtype=torch.float64)
    for block in blocks(rows):
        centred = block.double().sub_(mean)  # in place: one matrix of the block, not two
        covariance += centred.T @ centred
    return mean, covariance / len(rows)


def mean(rows: MatrixRows, count: int, generator: torch.Generator) -> torch.Tensor:
    """Every new row = the mean of the pretrained rows (Hewitt 2021, "Initializing new word embeddings")."""
    return mean_row(rows).float().repeat(count, 1)


def hf_mean(rows: MatrixRows, count: int, generator: torch.Generator) -> torch.Tensor:
    """What transformers' ``resize_token_embeddings(mean_resizing=True)`` does: draws from N(mean, 1e-9 covariance).

    The draws differ by about 3e-5 of the pretrained rows' spread: one point for all that matters, and literally one
    in bfloat16. transformers falls back to the bare mean where the covariance is not positive definite; so does this.
    """
    centre, covariance = moments(rows)
    return _draw(centre, 1e-9 * covariance, count, generator, strict=True)


def noisy_mean(rows: MatrixRows, count: int, generator: torch.Generator) -> torch.Tensor:
    """The mean of the pretrained rows and noise from N(0, 1/d) on every coordinate, as LLaMA-Factory starts new rows.

    The noise has norm 1 whatever the scale of the pretrained rows, so it may drown the mean or vanish beside it.
    """
    centre = mean_row(rows)
    noise = torch.randn(count, len(centre), dtype=torch.float64, generator=generator)
    found: torch.Tensor = centre + noise / len(centre) ** 0.5
    return found.float()


def random(rows: MatrixRows, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draws from N(mean, covariance) of the pretrained rows: distinct, on the same ellipsoid, without meaning."""
    centre, covariance = moments(rows)
    return _draw(centre, covariance, count, generator, strict=False)


def _draw(
    centre: torch.Tensor, covariance: torch.Tensor, count: int, generator: torch.Generator, *, strict: bool
) -> torch.Tensor:
    """Draw (count, d) from a normal distribution whose covariance may be singular (``strict``: then the mean)."""
    values, vectors = torch.linalg.eigh(covariance)
    if strict and values.min() <= 0:
        return centre.float().repeat(count, 1)
    noise = torch.randn(count, len(centre), dtype=torch.float64, generator=generator)
    drawn: torch.Tensor = centre + (noise * values.clamp(min=0).sqrt()) @ vectors.T
    return drawn.float()


INITIALIZERS: dict[str, Initializer] = {"mean": mean, "hf-mean": hf_mean, "noisy-mean": noisy_mean, "random": random}
