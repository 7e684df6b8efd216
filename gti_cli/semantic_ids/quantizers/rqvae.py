"""RQ-VAE: an autoencoder whose latent vector is quantized by residual codebooks that are trained with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.quantizers import residual_codes
from gti_cli.semantic_ids.quantizers.relu_dropout import ReluDropout
from gti_cli.semantic_ids.quantizers.rqvae_code_use import balanced_codes
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]

# Names of the arrays of `Autoencoder.state`.
_MODEL, _MEAN, _SPREAD = "rqvae.model.", "rqvae.mean", "rqvae.spread"


class Step(NamedTuple):
    """The result of one batch.

    Attributes:
        reconstruction: Scalar loss.
        quantization: Scalar loss: codebook loss and weighted commitment loss, summed over levels.
        codes: (B, L).
    """

    reconstruction: Tensor
    quantization: Tensor
    codes: Tensor


class RQVAE(nn.Module):
    """MLP encoder, residual codebooks, mirrored decoder.

    The codebooks are trained by the codebook loss, the encoder by the straight-through estimator and the commitment
    loss (van den Oord et al., arXiv 1711.00937; residual levels: Lee et al., arXiv 2203.01941).

    Args:
        width: Width d of the embeddings.
        sizes: The number of codes of each level.
        hidden: Widths of the encoder's hidden layers.
        latent: Width d_code of the latent vector and of the codes.
        dropout: Dropout rate after each hidden ReLU.
    """

    def __init__(self, width: int, sizes: Sequence[int], hidden: Sequence[int], latent: int, dropout: float) -> None:
        super().__init__()
        widths = [width, *hidden, latent]
        self.encoder = _mlp(widths, dropout)
        self.decoder = _mlp(widths[::-1], dropout)
        self.codebooks = nn.ParameterList([nn.Parameter(torch.randn(size, latent) * 0.1) for size in sizes])

    def quantize(self, latents: Tensor, sinkhorn: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize latents level by level, each level by the nearest code.

        Args:
            latents: (B, d_code).
            sinkhorn: Above 0, the last level uses `rqvae_code_use.balanced_codes` with this epsilon.

        Returns:
            The sum of the chosen codes' vectors (B, d_code), with gradient to the codebooks; the residual that each
            level quantizes (L, B, d_code), detached from the codebooks; the codes (B, L).
        """
        total = torch.zeros_like(latents)
        residual, inputs, codes = latents, [], []
        for level, codebook in enumerate(self.codebooks):
            balanced = sinkhorn > 0 and level == len(self.codebooks) - 1
            with torch.no_grad():
                code = balanced_codes(residual, codebook, sinkhorn) if balanced else nearest(residual, codebook)
            chosen = codebook[code]
            inputs.append(residual)
            codes.append(code)
            total = total + chosen
            # Detached: the loss of a level must not train the codebooks of the levels before it.
            residual = residual - chosen.detach()
        return total, torch.stack(inputs), torch.stack(codes, dim=1)

    def forward(self, rows: Tensor, commitment: float, sinkhorn: float = 0.0, dtype: torch.dtype | None = None) -> Step:
        """Compute the losses of one batch: means over all numbers, summed over levels.

        Args:
            rows: (B, d) scaled embeddings.
            commitment: Weight of the commitment loss.
            sinkhorn: See `quantize`.
            dtype: With bfloat16, encoder and decoder run in it; distances and losses are always float32.
        """
        with self.precision(rows.device, dtype):
            latents = self.encoder(rows).float()
        quantized, inputs, codes = self.quantize(latents, sinkhorn)
        # The decoder gets the quantized vector; backwards, its gradient passes to the latents unchanged.
        straight_through = latents + (quantized - latents).detach()
        with self.precision(rows.device, dtype):
            output = self.decoder(straight_through).float()
        reconstruction = nn.functional.mse_loss(output, rows)
        loss = latents.new_zeros(())
        for level, codebook in enumerate(self.codebooks):
            chosen = codebook[codes[:, level]]
            loss = loss + nn.functional.mse_loss(chosen, inputs[level].detach())  # trains the codebook
            loss = loss + commitment * nn.functional.mse_loss(inputs[level], chosen.detach())  # trains the encoder
        return Step(reconstruction, loss, codes)

    @staticmethod
    def precision(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
        """The autocast context in which encoder and decoder run; only bfloat16 changes anything."""
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


class Autoencoder:
    """An `RQVAE` together with the scale of the embeddings that it is trained on.

    Embeddings are centred and divided by one number, so that losses and learning rate mean the same for all data.

    Args:
        model: Encoder, codebooks and decoder.
        mean: (d,) mean of the training embeddings.
        spread: Root mean square of the centred training embeddings.
    """

    def __init__(self, model: RQVAE, mean: Tensor, spread: float) -> None:
        self.model, self.mean, self.spread = model, mean, spread

    @property
    def codebooks(self) -> list[Vectors]:
        """L arrays (K_l, d_code) float32."""
        return [np.asarray(book.detach().cpu().numpy(), dtype=np.float32) for book in self.model.codebooks]

    def scale(self, rows: Tensor) -> Tensor:
        """Centre and scale embeddings (n, d) for the encoder."""
        return (rows - self.mean) / self.spread

    @torch.no_grad()
    def to_code_space(self, vectors: VectorRows) -> Vectors:
        """Encode embeddings (N, d) as latents (N, d_code), block by block, without dropout."""
        self.model.eval()
        parts = []
        for part in residual_codes.blocks(len(vectors)):
            rows = torch.from_numpy(np.array(vectors[part], dtype=np.float32)).to(self.mean.device)
            parts.append(self.model.encoder(self.scale(rows)).cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def decode(self, codes: Codes, levels: int) -> Vectors:
        """Reconstruct embeddings (n, d) from the first ``levels`` codes of (n, L)."""
        self.model.eval()
        latents = torch.from_numpy(residual_codes.decode(codes, self.codebooks, levels)).to(self.mean.device)
        return np.asarray((self.model.decoder(latents) * self.spread + self.mean).cpu().numpy())

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Weights and scale as arrays, for safetensors."""
        arrays = {f"{_MODEL}{name}": value.detach().cpu().numpy() for name, value in self.model.state_dict().items()}
        return {**arrays, _MEAN: self.mean.cpu().numpy(), _SPREAD: np.asarray([self.spread], dtype=np.float32)}

    @classmethod
    def from_state(
        cls, arrays: Mapping[str, npt.NDArray[Any]], options: RQVAEOptions, sizes: Sequence[int]
    ) -> Autoencoder:
        """Restore an autoencoder on the CPU.

        Args:
            arrays: Result of `state`.
            options: Options that the model was trained with.
            sizes: The number of codes of each level.
        """
        mean = torch.from_numpy(np.array(arrays[_MEAN]))
        hidden, latent = options.fitted(len(mean))
        model = RQVAE(len(mean), sizes, hidden, latent, options.dropout)
        weights = {name[len(_MODEL) :]: value for name, value in arrays.items() if name.startswith(_MODEL)}
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        return cls(model, mean, float(arrays[_SPREAD][0]))


def nearest(rows: Tensor, codebook: Tensor) -> Tensor:
    """The nearest code of each row (B, d_code): (B,) int64; each row's own squared norm does not matter."""
    scores = torch.addmm(codebook.square().sum(dim=1), rows, codebook.T, alpha=-2.0)
    return scores.argmin(dim=1)


def _mlp(widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear layers with ReLU and dropout between them."""
    layers: list[nn.Module] = []
    for index, (inside, outside) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(inside, outside))
        if index < len(widths) - 2:
            layers.append(ReluDropout(dropout))
    return nn.Sequential(*layers)
