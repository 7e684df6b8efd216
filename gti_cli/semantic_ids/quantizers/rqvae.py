"""RQ-VAE: an autoencoder whose latent vector is quantised by residual codebooks that are learned with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.quantizers import residuals
from gti_cli.semantic_ids.quantizers.diversity import balanced_codes
from gti_cli.semantic_ids.quantizers.relu_dropout import ReluDropout
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]

_MODEL, _MEAN, _SPREAD = "rqvae.model.", "rqvae.mean", "rqvae.spread"


class Step(NamedTuple):
    """Losses of a batch (scalars) and its codes (B, L)."""

    reconstruction: Tensor
    quantisation: Tensor
    codes: Tensor


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

    def quantise(self, latents: Tensor, sinkhorn: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise (B, d_code) by the nearest code; with ``sinkhorn`` > 0 the last level by `diversity.balanced_codes`.

        Returns:
            the sum of the nearest codes' vectors (B, d_code), with gradient to the codebooks;
            the residual that each level saw (L, B, d_code), detached from the codebooks; the codes (B, L).
        """
        total = torch.zeros_like(latents)
        rest, seen, codes = latents, [], []
        for level, codebook in enumerate(self.codebooks):
            balanced = sinkhorn > 0 and level == len(self.codebooks) - 1
            with torch.no_grad():
                code = balanced_codes(rest, codebook, sinkhorn) if balanced else nearest(rest, codebook)
            chosen = codebook[code]
            seen.append(rest)
            codes.append(code)
            total = total + chosen
            rest = rest - chosen.detach()
        return total, torch.stack(seen), torch.stack(codes, dim=1)

    def forward(self, rows: Tensor, commitment: float, sinkhorn: float = 0.0, dtype: torch.dtype | None = None) -> Step:
        """One batch (B, d) of scaled embeddings. Losses are means over all numbers, summed over levels.

        Args:
            rows: the batch. commitment, sinkhorn: see `options.RQVAEOptions`. dtype: bfloat16 runs encoder and decoder
                in it; distances and losses are float32 always.
        """
        with self.precision(rows.device, dtype):
            latents = self.encoder(rows).float()
        quantised, seen, codes = self.quantise(latents, sinkhorn)
        straight_through = latents + (quantised - latents).detach()
        with self.precision(rows.device, dtype):
            output = self.decoder(straight_through).float()
        reconstruction = nn.functional.mse_loss(output, rows)
        loss = latents.new_zeros(())
        for level, codebook in enumerate(self.codebooks):
            chosen = codebook[codes[:, level]]
            loss = loss + nn.functional.mse_loss(chosen, seen[level].detach())
            loss = loss + commitment * nn.functional.mse_loss(seen[level], chosen.detach())
        return Step(reconstruction, loss, codes)

    @staticmethod
    def precision(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
        """The context in which encoder and decoder run."""
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


class Autoencoder:
    """A trained `RQVAE` together with the scale of the embeddings that it was trained on.

    Embeddings are centred and divided by one number, so that losses and learning rate mean the same for all data.

    Args:
        model: the trained model. mean: (d,) of the training embeddings. spread: root mean square around it.
    """

    def __init__(self, model: RQVAE, mean: Tensor, spread: float) -> None:
        self.model, self.mean, self.spread = model, mean, spread

    @property
    def codebooks(self) -> list[Vectors]:
        """L arrays (K_l, d_code) float32."""
        return [np.asarray(book.detach().cpu().numpy(), dtype=np.float32) for book in self.model.codebooks]

    def scale(self, rows: Tensor) -> Tensor:
        """(n, d) embeddings to what the encoder sees."""
        return (rows - self.mean) / self.spread

    @torch.no_grad()
    def to_space(self, vectors: VectorRows) -> Vectors:
        """(N, d) embeddings to latents (N, d_code), block by block, without dropout."""
        self.model.eval()
        parts = []
        for part in residuals.blocks(len(vectors)):
            rows = torch.from_numpy(np.array(vectors[part], dtype=np.float32)).to(self.mean.device)
            parts.append(self.model.encoder(self.scale(rows)).cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def decode(self, codes: Codes, levels: int) -> Vectors:
        """Embeddings (n, d) from the first ``levels`` codes of (n, L)."""
        self.model.eval()
        latents = torch.from_numpy(residuals.decode(codes, self.codebooks, levels)).to(self.mean.device)
        return np.asarray((self.model.decoder(latents) * self.spread + self.mean).cpu().numpy())

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as arrays, for safetensors."""
        arrays = {f"{_MODEL}{name}": value.detach().cpu().numpy() for name, value in self.model.state_dict().items()}
        return {**arrays, _MEAN: self.mean.cpu().numpy(), _SPREAD: np.asarray([self.spread], dtype=np.float32)}

    @classmethod
    def from_state(
        cls, arrays: Mapping[str, npt.NDArray[Any]], options: RQVAEOptions, sizes: Sequence[int]
    ) -> Autoencoder:
        """What `state` gave, for a model of ``options`` and codebook ``sizes``; on the CPU."""
        mean = torch.from_numpy(np.array(arrays[_MEAN]))
        hidden, latent = options.fitted(len(mean))
        model = RQVAE(len(mean), sizes, hidden, latent, options.dropout)
        weights = {name[len(_MODEL) :]: value for name, value in arrays.items() if name.startswith(_MODEL)}
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        return cls(model, mean, float(arrays[_SPREAD][0]))


def nearest(rows: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest code of each row: (B,) int64."""
    scores = torch.addmm(codebook.square().sum(dim=1), rows, codebook.T, alpha=-2.0)
    return scores.argmin(dim=1)


def _mlp(widths: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (inside, outside) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(inside, outside))
        if index < len(widths) - 2:
            layers.append(ReluDropout(dropout))
    return nn.Sequential(*layers)
