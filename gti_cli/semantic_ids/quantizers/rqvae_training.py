"""Train an RQ-VAE: a plain torch loop with initialised codebooks, revival of dead codes and early stopping."""

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
from gti_cli.semantic_ids.quantizers import kmeans, residual_codes
from gti_cli.semantic_ids.quantizers.rqvae import RQVAE, Autoencoder
from gti_cli.semantic_ids.quantizers.rqvae_code_use import code_groups, diversity_loss
from gti_cli.semantic_ids.quantizers.rqvae_resume import Progress, load, save

Vectors = npt.NDArray[np.float32]

# Why training stopped, as the manifest says it.
STOOD_STILL = "reconstruction and collisions stood still"
ALL_EPOCHS = "all epochs done"
_IMPROVED = 0.995  # A figure counts as improved when it falls below this share of its best value before.


@dataclass
class TrainedRQVAE:
    """A trained RQ-VAE.

    Attributes:
        autoencoder: The model, which encodes and decodes.
        history: One row for each epoch; figures of the checks are None in epochs without one.
        epochs: The number of epochs done.
        stopped: Why training stopped: `ALL_EPOCHS` or `STOOD_STILL`.
        revived: How many dead codes were initialised anew.
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
    """Train an RQ-VAE; deterministic for one seed on one machine.

    Args:
        vectors: (N, d) embeddings, N >= max(sizes).
        sizes: The number of codes of each level.
        seed: Seed of everything random.
        device: Where to train.
        options: See `RQVAEOptions`.
        dtype: bfloat16 for encoder and decoder while training; else float32.
        scratch: Folder in which the training is saved at each check, and from which an interrupted one resumes.
    """
    return _Trainer(vectors, sizes, seed, device, options or RQVAEOptions(), dtype).run(scratch)


class _Trainer:
    """Model, optimizer and progress of one training; arguments as in `train`."""

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
        # Adam in one kernel for all parameters, where the device has one; it saves a tenth of an epoch's time on a CPU.
        fused = device.type in ("cpu", "cuda")
        books = list(self.model.codebooks.parameters())
        layers = [*self.model.encoder.parameters(), *self.model.decoder.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": layers},
            {"params": books, "lr": options.learning_rate * options.codebook_rate},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=options.learning_rate, fused=fused)
        self.order = torch.Generator().manual_seed(seed)
        # Of each level: which codes were chosen in this epoch, and the groups of codes for the diversity loss.
        self.used = [torch.zeros(size, dtype=torch.bool, device=device) for size in sizes]
        self.groups: list[Tensor] = []
        self.done = Progress(0, [], 0)

    def run(self, scratch: Path | None) -> TrainedRQVAE:
        """Train to the end, from the state that ``scratch`` holds if there is one."""
        options, stopped, done = self.options, ALL_EPOCHS, self.done
        resumed = load(scratch, self.model, self.optimizer, self.order) if scratch is not None else None
        with console.progress("RQ-VAE", options.warm_up + options.epochs, "epochs") as advance:
            if resumed is None:
                for _ in range(options.warm_up):
                    self._run_batches(self._warm_step, 2)
                    advance(1, note="warm-up")
                self._start_codebooks()
            else:
                self.done = done = resumed
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
        # Groups are renewed at each check only, which also makes them the same after a training resumes from one.
        if options.diversity > 0 and done.epoch % options.check_every == 0:
            books = self.autoencoder.codebooks
            self.groups = [torch.from_numpy(code_groups(book, self.seed)).to(self.device) for book in books]
        losses = self._run_batches(self._step, 3)
        self._revive()
        done.epoch += 1
        # Every row has all columns, because the columns of the history's table are those of its first row.
        row: dict[str, Any] = {"epoch": done.epoch}
        row.update(zip(("train_reconstruction", "train_quantisation", "train_diversity"), losses, strict=True))
        row.update(
            {"reconstruction": None, "collisions": None, **{f"use_{level}": None for level in range(len(self.used))}}
        )
        if done.epoch % options.check_every == 0 or done.epoch == options.epochs:
            row.update(self._check())
        done.history.append(row)

    def _run_batches(self, step: Callable[[Tensor], Tensor], parts: int) -> list[float]:
        """Train one epoch in random order; return the mean of each of the ``parts`` losses that ``step`` computes."""
        self.model.train()
        order = torch.randperm(len(self.rows), generator=self.order).to(self.device)
        sums = torch.zeros(parts, device=self.device)
        for batch in torch.split(order, self.options.batch(len(self.rows), self.sizes[-1])):
            self.optimizer.zero_grad(set_to_none=True)
            losses = step(self.rows[batch])
            losses.sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            sums += losses.detach() * len(batch)  # On the device: reading a loss at every step would make it wait.
        return [float(value) for value in sums / len(self.rows)]

    def _warm_step(self, rows: Tensor) -> Tensor:
        """Losses of one batch as a plain autoencoder; the second, unused one makes the shape like that of `_step`."""
        with self.model.precision(self.device, self.dtype):
            output = self.model.decoder(self.model.encoder(rows)).float()
        loss = torch.nn.functional.mse_loss(output, rows)
        return torch.stack([loss, torch.zeros_like(loss)])

    def _step(self, rows: Tensor) -> Tensor:
        """Losses of one batch: reconstruction, quantization, weighted diversity."""
        step = self.model(rows, self.options.commitment, self.options.sinkhorn, self.dtype)
        diversity = torch.zeros((), device=self.device)
        for level, used in enumerate(self.used):
            used[step.codes[:, level]] = True
            if self.options.diversity > 0:
                codebook, codes = self.model.codebooks[level], step.codes[:, level]
                diversity = diversity + diversity_loss(codebook, codes, self.groups[level], self.order)
        return torch.stack([step.reconstruction, step.quantization, self.options.diversity * diversity])

    def _start_codebooks(self) -> None:
        """Initialise the codebooks as ``options.start`` says; ``random`` leaves those of the new model."""
        if self.options.start == "random":
            return
        latents = self._latents()
        if self.options.start == "kmeans":
            codebooks = kmeans.train(latents, self.sizes, self.seed)
        else:
            codes = residual_codes.encode(self.vectors, kmeans.train(self.vectors, self.sizes, self.seed))
            codebooks = residual_codes.mean_codebooks(latents, codes, self.sizes)
        with torch.no_grad():
            for parameter, codebook in zip(self.model.codebooks, codebooks, strict=True):
                parameter.copy_(torch.from_numpy(codebook))

    def _revive(self) -> None:
        """Replace each code that no item of the epoch chose by the residual of a random item at its level."""
        dead = [torch.nonzero(~used).flatten() for used in self.used]
        for used in self.used:
            used.zero_()
        if not any(len(codes) for codes in dead):
            return
        self.model.eval()
        with torch.no_grad():
            most = max(len(codes) for codes in dead)
            picked = torch.randint(len(self.rows), (most,), generator=self.order).to(self.device)
            _, inputs, _ = self.model.quantize(self.model.encoder(self.rows[picked]))
            for level, codes in enumerate(dead):
                self.model.codebooks[level][codes] = inputs[level, : len(codes)]
                self.done.revived += len(codes)

    def _latents(self) -> Vectors:
        """Latents (N, d_code) of all items, without dropout."""
        self.model.eval()
        with torch.no_grad():
            parts = [self.model.encoder(part) for part in torch.split(self.rows, residual_codes.BLOCK)]
        return np.asarray(torch.cat(parts).cpu().numpy(), dtype=np.float32)

    def _check(self) -> dict[str, Any]:
        """Measure the model as it will be used: without dropout, with the nearest codes, on all items."""
        self.model.eval()
        squared, blocks = 0.0, []
        with torch.no_grad():
            for part in torch.split(self.rows, residual_codes.BLOCK):
                quantized, _, chosen = self.model.quantize(self.model.encoder(part))
                squared += float((self.model.decoder(quantized) - part).square().sum())
                blocks.append(chosen.cpu().numpy())
        codes = np.concatenate(blocks).astype(np.int32)
        figures: dict[str, Any] = {
            "reconstruction": squared / self.rows.numel(),
            "collisions": len(codes) - int(tuple_labels(codes).max() + 1),
        }
        for level, size in enumerate(self.sizes):
            figures[f"use_{level}"] = len(np.unique(codes[:, level])) / size
        return figures

    def _stands_still(self) -> bool:
        """Whether neither figure improved in the last ``options.patience`` checks."""
        checks = [row for row in self.done.history if row["reconstruction"] is not None]
        patience = self.options.patience
        if len(checks) <= patience:
            return False

        def stands_still(key: str) -> bool:
            """Whether the best of the last checks is no improvement on the best before."""
            lately, before = (min(row[key] for row in part) for part in (checks[-patience:], checks[:-patience]))
            return bool(lately >= _IMPROVED * before)

        return stands_still("reconstruction") and stands_still("collisions")
