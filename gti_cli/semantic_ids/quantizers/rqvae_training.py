"""Train an RQ-VAE: a plain torch loop with k-means start, revival of dead codes and a reason to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gti_cli import console
from gti_cli.semantic_ids.groups import tuple_labels
from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.quantizers import kmeans, residuals
from gti_cli.semantic_ids.quantizers.diversity import code_groups, diversity_loss
from gti_cli.semantic_ids.quantizers.rqvae import RQVAE, Autoencoder
from gti_cli.semantic_ids.quantizers.rqvae_resume import Progress, load, save

Vectors = npt.NDArray[np.float32]

STOOD_STILL = "reconstruction and collisions stood still"
ALL_EPOCHS = "all epochs done"
_BETTER = 0.995  # an improvement counts from half a per cent


@dataclass
class TrainedRQVAE:
    """A trained RQ-VAE.

    Attributes:
        autoencoder: to encode and decode. history: a row for each epoch (figures of checks are None between them).
        epochs: done. stopped: why training stopped. revived: dead codes that were started anew.
    """

    autoencoder: Autoencoder
    history: list[dict[str, Any]] = field(default_factory=list)
    epochs: int = 0
    stopped: str = ALL_EPOCHS
    revived: int = 0


def train(
    vectors: Vectors,
    sizes: Sequence[int],
    seed: int,
    device: torch.device,
    options: RQVAEOptions | None = None,
    *,
    dtype: torch.dtype | None = None,
    scratch: Path | None = None,
) -> TrainedRQVAE:
    """Train on ``vectors`` (N, d), N >= max(sizes); deterministic for one seed on one machine.

    Args:
        vectors: the embeddings. sizes: codes of each level. seed: of everything random. device: where to train.
        options: see `RQVAEOptions`. dtype: bfloat16 for encoder and decoder while training; None: float32.
        scratch: folder in which training is kept at each check, and from which an interrupted one goes on.
    """
    return _Trainer(vectors, sizes, seed, device, options or RQVAEOptions(), dtype).run(scratch)


class _Trainer:
    def __init__(
        self,
        vectors: Vectors,
        sizes: Sequence[int],
        seed: int,
        device: torch.device,
        options: RQVAEOptions,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.vectors, self.options, self.sizes, self.seed = vectors, options, list(sizes), seed
        self.device, self.dtype = device, dtype
        torch.manual_seed(seed)
        hidden, latent = options.fitted(vectors.shape[1])
        rows = torch.from_numpy(np.ascontiguousarray(vectors)).to(device)
        mean = rows.mean(dim=0)
        spread = max(float((rows - mean).square().mean().sqrt()), 1e-12)
        self.model = RQVAE(vectors.shape[1], sizes, hidden, latent, options.dropout).to(device)
        self.autoencoder = Autoencoder(self.model, mean, spread)
        self.rows = self.autoencoder.scale(rows)
        # One kernel for all parameters where the device has one: a tenth of an epoch on a CPU.
        fused = device.type in ("cpu", "cuda")
        books = list(self.model.codebooks.parameters())
        layers = [*self.model.encoder.parameters(), *self.model.decoder.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": layers},
            {"params": books, "lr": options.learning_rate * options.codebook_rate},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=options.learning_rate, fused=fused)
        self.order = torch.Generator().manual_seed(seed)
        self.used = [torch.zeros(size, dtype=torch.bool, device=device) for size in sizes]
        self.groups: list[Tensor] = []
        self.done = Progress(0, [], 0)

    def run(self, scratch: Path | None) -> TrainedRQVAE:
        """Train to the end, or go on from what ``scratch`` holds."""
        options, stopped, done = self.options, ALL_EPOCHS, self.done
        found = load(scratch, self.model, self.optimizer, self.order) if scratch is not None else None
        with console.progress("RQ-VAE", options.warm_up + options.epochs, "epochs") as advance:
            if found is None:
                for _ in range(options.warm_up):
                    self._epoch(self._warm_step, 2)
                    advance(1, note="warm-up")
                self._start_codebooks()
            else:
                self.done = done = found
                advance(options.warm_up + done.epoch)
            while done.epoch < options.epochs:
                self._train_epoch()
                last = done.history[-1]
                checked = last["reconstruction"] is not None
                advance(
                    1, note=f"error {last['reconstruction']:.4f}, {last['collisions']:,} colliding" if checked else ""
                )
                if checked and self._stands_still():
                    stopped = STOOD_STILL
                    break
                if checked and scratch is not None:
                    save(scratch, self.model, self.optimizer, self.order, done)
        console.note(f"RQ-VAE: stopped after {done.epoch:,} epochs: {stopped}")
        return TrainedRQVAE(self.autoencoder, done.history, done.epoch, stopped, done.revived)

    def _train_epoch(self) -> None:
        options, done = self.options, self.done
        if options.diversity > 0 and done.epoch % options.check_every == 0:
            books = self.autoencoder.codebooks
            self.groups = [torch.from_numpy(code_groups(book, self.seed)).to(self.device) for book in books]
        losses = self._epoch(self._step, 3)
        self._revive()
        done.epoch += 1
        row: dict[str, Any] = {"epoch": done.epoch}
        row.update(zip(("train_reconstruction", "train_quantisation", "train_diversity"), losses, strict=True))
        row.update(
            {"reconstruction": None, "collisions": None, **{f"use_{level}": None for level in range(len(self.used))}}
        )
        if done.epoch % options.check_every == 0 or done.epoch == options.epochs:
            row.update(self._check())
        done.history.append(row)

    def _epoch(self, step: Callable[[Tensor], Tensor], parts: int) -> list[float]:
        """One pass in random order; the means of the ``parts`` losses that ``step`` returns for a batch."""
        self.model.train()
        order = torch.randperm(len(self.rows), generator=self.order).to(self.device)
        sums = torch.zeros(parts, device=self.device)
        for batch in torch.split(order, self.options.batch(len(self.rows), self.sizes[-1])):
            self.optimizer.zero_grad(set_to_none=True)
            losses = step(self.rows[batch])
            losses.sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            sums += losses.detach() * len(batch)
        return [float(value) for value in sums / len(self.rows)]

    def _warm_step(self, rows: Tensor) -> Tensor:
        with self.model.precision(self.device, self.dtype):
            output = self.model.decoder(self.model.encoder(rows)).float()
        loss = torch.nn.functional.mse_loss(output, rows)
        return torch.stack([loss, torch.zeros_like(loss)])

    def _step(self, rows: Tensor) -> Tensor:
        step = self.model(rows, self.options.commitment, self.options.sinkhorn, self.dtype)
        diversity = torch.zeros((), device=self.device)
        for level, used in enumerate(self.used):
            used[step.codes[:, level]] = True
            if self.options.diversity > 0:
                codebook, codes = self.model.codebooks[level], step.codes[:, level]
                diversity = diversity + diversity_loss(codebook, codes, self.groups[level], self.order)
        return torch.stack([step.reconstruction, step.quantisation, self.options.diversity * diversity])

    def _start_codebooks(self) -> None:
        if self.options.start == "random":
            return
        latents = self._latents()
        if self.options.start == "kmeans":
            found = kmeans.train(latents, self.sizes, self.seed)
        else:
            codes = residuals.encode(self.vectors, kmeans.train(self.vectors, self.sizes, self.seed))
            found = residuals.mean_codebooks(latents, codes, self.sizes)
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
                self.done.revived += len(codes)

    def _latents(self) -> Vectors:
        self.model.eval()
        with torch.no_grad():
            parts = [self.model.encoder(part) for part in torch.split(self.rows, residuals.BLOCK)]
        return np.asarray(torch.cat(parts).cpu().numpy(), dtype=np.float32)

    def _check(self) -> dict[str, Any]:
        """Judge the model as it will be used: without dropout, nearest codes, on all items."""
        self.model.eval()
        squared, codes = 0.0, []
        with torch.no_grad():
            for part in torch.split(self.rows, residuals.BLOCK):
                quantised, _, chosen = self.model.quantise(self.model.encoder(part))
                squared += float((self.model.decoder(quantised) - part).square().sum())
                codes.append(chosen.cpu().numpy())
        found = np.concatenate(codes).astype(np.int32)
        figures: dict[str, Any] = {
            "reconstruction": squared / self.rows.numel(),
            "collisions": len(found) - int(tuple_labels(found).max() + 1),
        }
        for level, size in enumerate(self.sizes):
            figures[f"use_{level}"] = len(np.unique(found[:, level])) / size
        return figures

    def _stands_still(self) -> bool:
        checks = [row for row in self.done.history if row["reconstruction"] is not None]
        patience = self.options.patience
        if len(checks) <= patience:
            return False

        def stands(key: str) -> bool:
            """No better lately than before."""
            lately, before = (min(row[key] for row in part) for part in (checks[-patience:], checks[:-patience]))
            return bool(lately >= _BETTER * before)

        return stands("reconstruction") and stands("collisions")
