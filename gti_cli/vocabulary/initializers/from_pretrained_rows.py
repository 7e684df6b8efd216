"""Initializers that use the pretrained rows alone and know nothing about the new tokens.

Each takes the pretrained rows (V, d), the number n of new rows and a random generator, and returns (n, d) float32. The
pretrained rows may lie in a file: they are read in blocks and never held in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from gti_cli.tensors.matrix_rows import MatrixRows, blocks

PretrainedInitializer = Callable[[MatrixRows, int, torch.Generator], torch.Tensor]


def mean_row(rows: MatrixRows) -> torch.Tensor:
    """Compute the mean (d,) of ``rows`` (V, d) in float64, at a hundredth of the work of `moments`."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for block in blocks(rows):
        total += block.sum(0, dtype=torch.float64)
    return total / len(rows)


def moments(rows: MatrixRows) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the mean (d,) and covariance (d, d) of ``rows`` (V, d) in float64."""
    width = rows.shape[1]
    centre = mean_row(rows)
    covariance = torch.zeros(width, width, dtype=torch.float64)
    for block in blocks(rows):
        centred = block.double().sub_(centre)  # in place, so that there is one float64 copy of the block and not two
        covariance += centred.T @ centred
    return centre, covariance / len(rows)


def mean(rows: MatrixRows, count: int, generator: torch.Generator) -> torch.Tensor:
    """Set every new row to the mean of the pretrained rows (Hewitt 2021, "Initializing new word embeddings")."""
    return mean_row(rows).float().repeat(count, 1)


def hf_mean(rows: MatrixRows, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw from N(mean, 1e-9 covariance), as transformers' ``resize_token_embeddings(mean_resizing=True)`` does.

    The new rows differ by about 3e-5 of the pretrained rows' spread, and not at all once they are stored as bfloat16.
    Where the covariance is not positive definite they are the bare mean, as in transformers. transformers' own code is
    not used: it needs the whole model in memory and draws from the global generator.
    """
    centre, covariance = moments(rows)
    return _draw(centre, 1e-9 * covariance, count, generator, strict=True)


def noisy_mean(rows: MatrixRows, count: int, generator: torch.Generator) -> torch.Tensor:
    """Add noise from N(0, 1/d) on every coordinate to the mean of the pretrained rows, as LLaMA-Factory does.

    The noise has norm 1 on average whatever the scale of the pretrained rows, so it may dominate the mean or vanish
    beside it.
    """
    centre = mean_row(rows)
    noise = torch.randn(count, len(centre), dtype=torch.float64, generator=generator)
    noisy: torch.Tensor = centre + noise / len(centre) ** 0.5
    return noisy.float()


def random(rows: MatrixRows, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw from N(mean, covariance) of the pretrained rows: distinct rows on the same ellipsoid, without meaning."""
    centre, covariance = moments(rows)
    return _draw(centre, covariance, count, generator, strict=False)


def _draw(
    centre: torch.Tensor, covariance: torch.Tensor, count: int, generator: torch.Generator, *, strict: bool
) -> torch.Tensor:
    """Draw (count, d) from a normal distribution.

    The covariance may be singular, as with fewer rows than dimensions; ``strict`` then returns the mean. torch's
    `MultivariateNormal` refuses a singular covariance.
    """
    values, vectors = torch.linalg.eigh(covariance)
    if strict and values.min() <= 0:
        return centre.float().repeat(count, 1)
    noise = torch.randn(count, len(centre), dtype=torch.float64, generator=generator)
    # Rounding can make eigenvalues of a singular matrix slightly negative.
    drawn: torch.Tensor = centre + (noise * values.clamp(min=0).sqrt()) @ vectors.T
    return drawn.float()


FROM_PRETRAINED: dict[str, PretrainedInitializer] = {
    "mean": mean,
    "hf-mean": hf_mean,
    "noisy-mean": noisy_mean,
    "random": random,
}
