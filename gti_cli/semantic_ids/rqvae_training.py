"""Train an RQ-VAE: a plain torch loop with k-means start, revival of dead codes and a reason to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gti_cli import console
from gti_cli.semantic_ids import kmeans, residuals
from gti_cli.semantic_ids.groups import tuple_labels
from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.rqvae import RQVAE, Autoencoder

Vectors = npt.NDArray[np.float32]

STOOD_STILL = "reconstruction and collisions stood still"
ALL_EPOCHS = "all epochs done"
_BETTER = 0.995  # an improvement counts from half a per cent


@dataclass
class TrainedRQVAE:
    """A trained RQ-VAE.

    Attributes:
        autoencoder: to encode and decode. history: a row for each check.
        epochs: done. stopped: why training stopped. revived: dead codes that were started anew.
    """

    autoencoder: Autoencoder
    history: list[dict[str, Any]] = field(default_factory=list)
    epochs: int = 0
    stopped: str = ALL_EPOCHS
    revived: int = 0


def train(
    vectors: Vectors, sizes: Sequence[int], seed: int, device: torch.device, options: RQVAEOptions | None = None
) -> TrainedRQVAE:
    """Train on ``vectors`` (N, d), N >= max(sizes); deterministic for one seed on one machine."""
    options = options or RQVAEOptions()
    return _Trainer(vectors, sizes, seed, device, options).run()


class _Trainer:
    def __init__(
        self, vectors: Vectors, sizes: Sequence[int], seed: int, device: torch.device, options: RQVAEOptions
    ) -> None:
        self.options, self.sizes, self.seed, self.device = options, list(sizes), seed, device
        torch.manual_seed(seed)
        hidden, latent = options.fitted(vectors.shape[1])
        rows = torch.from_numpy(np.ascontiguousarray(vectors)).to(device)
        mean = rows.mean(dim=0)
        spread = max(float((rows - mean).square().mean().sqrt()), 1e-12)
        self.model = RQVAE(vectors.shape[1], sizes, hidden, latent, options.dropout).to(device)
        self.autoencoder = Autoencoder(self.model, mean, spread)
        self.rows = self.autoencoder.scale(rows)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.learning_rate)
        self.order = torch.Generator().manual_seed(seed)
        self.used = [torch.zeros(size, dtype=torch.bool, device=device) for size in sizes]
        self.history: list[dict[str, Any]] = []
        self.revived = 0

    def run(self) -> TrainedRQVAE:
        options, stopped, epoch = self.options, ALL_EPOCHS, 0
        with console.progress("RQ-VAE", options.warm_up + options.epochs, "epochs") as advance:
            for _ in range(options.warm_up):
                self._epoch(self._warm_step)
                advance(1, note="warm-up")
            self._start_codebooks()
            for epoch in range(1, options.epochs + 1):
                losses = self._epoch(self._step)
                self._revive()
                checked = epoch % options.check_every == 0 or epoch == options.epochs
                if checked:
                    self._check(epoch, losses)
                    last = self.history[-1]
                    advance(1, note=f"error {last['reconstruction']:.4f}, {last['collisions']:,} collisions")
                else:
                    advance(1)
                if checked and self._stands_still():
                    stopped = STOOD_STILL
                    break
        console.note(f"RQ-VAE: stopped after {epoch:,} epochs: {stopped}")
        return TrainedRQVAE(self.autoencoder, self.history, epoch, stopped, self.revived)

    def _epoch(self, step: Any) -> list[float]:
        """One pass in random order; the mean of what ``step`` returns for a batch."""
        self.model.train()
        order = torch.randperm(len(self.rows), generator=self.order).to(self.device)
        sums = torch.zeros(2, device=self.device)
        for batch in torch.split(order, self.options.batch_size):
            self.optimizer.zero_grad(set_to_none=True)
            losses = step(self.rows[batch])
            losses.sum().backward()
            self.optimizer.step()
            sums += losses.detach() * len(batch)
        return [float(value) for value in sums / len(self.rows)]

    def _warm_step(self, rows: Tensor) -> Tensor:
        loss = torch.nn.functional.mse_loss(self.model.decoder(self.model.encoder(rows)), rows)
        return torch.stack([loss, torch.zeros_like(loss)])

    def _step(self, rows: Tensor) -> Tensor:
        step = self.model(rows, self.options.commitment)
        for level, used in enumerate(self.used):
            used[step.codes[:, level]] = True
        return torch.stack([step.reconstruction, step.quantisation])

    def _start_codebooks(self) -> None:
        found = kmeans.train(self._latents(), self.sizes, self.seed)
        with torch.no_grad():
            for parameter, codebook in zip(self.model.codebooks, found, strict=True):
                parameter.copy_(torch.from_numpy(codebook))

    def _revive(self) -> None:
        """Codes that no item of the epoch chose start anew from the residuals of random items."""
        dead = [torch.nonzero(~used).flatten() for used in self.used]
        for used in self.used:
            used.zero_()
        if not any(len(codes) for codes in dead):
            return
        self.model.eval()
        with torch.no_grad():
            most = max(len(codes) for codes in dead)
            picked = torch.randint(len(self.rows), (most,), generator=self.order).to(self.device)
            _, seen, _ = self.model.quantise(self.model.encoder(self.rows[picked]))
            for level, codes in enumerate(dead):
                self.model.codebooks[level][codes] = seen[level, : len(codes)]
                self.revived += len(codes)

    def _latents(self) -> Vectors:
        self.model.eval()
        with torch.no_grad():
            parts = [self.model.encoder(part) for part in torch.split(self.rows, residuals.BLOCK)]
        return np.asarray(torch.cat(parts).cpu().numpy(), dtype=np.float32)

    def _check(self, epoch: int, losses: list[float]) -> None:
        """Judge the model as it will be used: without dropout, on all items."""
        self.model.eval()
        squared, codes = 0.0, []
        with torch.no_grad():
            for part in torch.split(self.rows, residuals.BLOCK):
                quantised, _, chosen = self.model.quantise(self.model.encoder(part))
                squared += float((self.model.decoder(quantised) - part).square().sum())
                codes.append(chosen.cpu().numpy())
        found = np.concatenate(codes).astype(np.int32)
        entry: dict[str, Any] = {
            "epoch": epoch,
            "train_reconstruction": losses[0],
            "train_quantisation": losses[1],
            "reconstruction": squared / self.rows.numel(),
            "collisions": len(found) - int(tuple_labels(found).max() + 1),
        }
        for level, size in enumerate(self.sizes):
            entry[f"use_{level}"] = len(np.unique(found[:, level])) / size
        self.history.append(entry)

    def _stands_still(self) -> bool:
        patience = self.options.patience
        if len(self.history) <= patience:
            return False

        def best(key: str, rows: list[dict[str, Any]]) -> float:
            return float(min(row[key] for row in rows))

        before, lately = self.history[:-patience], self.history[-patience:]
        return all(
            best(key, lately) >= best(key, before) * _BETTER and best(key, before) >= 0
            for key in ("reconstruction", "collisions")
        )
