"""RQ-VAE: an autoencoder whose latent vector is quantised by residual codebooks that are learned with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Step(NamedTuple):
    """Losses of a batch (scalars) and its codes (B, L)."""

    reconstruction: Tensor
    quantisation: Tensor
    codes: Tensor


@dataclass
class Scale:
    """Embeddings are centred and divided by one number, so that losses and learning rate mean the same for all data."""

    mean: Tensor
    spread: float = field(default=1.0)

    def apply(self, rows: Tensor) -> Tensor:
        """(n, d) embeddings to what the encoder sees."""
        return (rows - self.mean) / self.spread

    def undo(self, rows: Tensor) -> Tensor:
        """What the decoder returns to embeddings."""
        return rows * self.spread + self.mean


class RQVAE(nn.Module):
    """MLP encoder, residual codebooks, mirrored decoder.

    Args:
        width: d of the embeddings. sizes: K of each level. hidden, latent, dropout: see `options.RQVAEOptions`.

    Codebooks learn by gradient (codebook loss), the encoder by the straight-through estimator and the commitment loss
    (van den Oord et al., arXiv 1711.00937; residual levels: Lee et al., arXiv 2203.01941).
    """

    def __init__(self, width: int, sizes: Sequence[int], hidden: Sequence[int], latent: int, dropout: float) -> None:
        super().__init__()
        widths = [width, *hidden, latent]
        self.encoder = _mlp(widths, dropout)
        self.decoder = _mlp(widths[::-1], dropout)
        self.codebooks = nn.ParameterList([nn.Parameter(torch.randn(size, latent) * 0.1) for size in sizes])

    def quantise(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise (B, d_code).

        Returns:
            the sum of the nearest codes' vectors (B, d_code), with gradient to the codebooks;
            the residual that each level saw (L, B, d_code), detached from the codebooks; the codes (B, L).
        """
        total = torch.zeros_like(latents)
        rest, seen, codes = latents, [], []
        for codebook in self.codebooks:
            with torch.no_grad():
                code = nearest(rest, codebook)
            chosen = codebook[code]
            seen.append(rest)
            codes.append(code)
            total = total + chosen
            rest = rest - chosen.detach()
        return total, torch.stack(seen), torch.stack(codes, dim=1)

    def forward(self, rows: Tensor, commitment: float) -> Step:
        """One batch (B, d) of scaled embeddings. Losses are means over all numbers, summed over levels."""
        latents = self.encoder(rows)
        quantised, seen, codes = self.quantise(latents)
        straight_through = latents + (quantised - latents).detach()
        reconstruction = nn.functional.mse_loss(self.decoder(straight_through), rows)
        loss = latents.new_zeros(())
        for level, codebook in enumerate(self.codebooks):
            chosen = codebook[codes[:, level]]
            loss = loss + nn.functional.mse_loss(chosen, seen[level].detach())
            loss = loss + commitment * nn.functional.mse_loss(seen[level], chosen.detach())
        return Step(reconstruction, loss, codes)


def nearest(rows: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest code of each row: (B,) int64."""
    scores = torch.addmm(codebook.square().sum(dim=1), rows, codebook.T, alpha=-2.0)
    return scores.argmin(dim=1)


def _mlp(widths: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (inside, outside) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(inside, outside))
        if index < len(widths) - 2:
            layers += [nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
