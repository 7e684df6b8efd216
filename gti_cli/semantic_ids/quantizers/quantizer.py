"""One interface for all quantizers: residual k-means, RQ-VAE, and imported codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.plan import BuildPlan
from gti_cli.semantic_ids.quantizers import kmeans, residual_codes
from gti_cli.tensors.vector_file import VectorRows

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Quantizer:
    """A trained quantizer.

    Attributes:
        codebooks: L arrays (K_l, d_code).
        to_code_space: Function from embeddings (N, d) to the vectors that the codebooks quantize (N, d_code): the
            embeddings themselves, or the latents of an RQ-VAE.
        decode: Function of codes (n, L) and a number of levels that returns embeddings (n, d).
        state: Arrays that `load_quantizer` needs beside the codebooks.
        metrics: Figures of the training, for the manifest.
        history: One row for each epoch of an RQ-VAE's training.
    """

    codebooks: list[Vectors]
    to_code_space: Callable[[VectorRows], VectorRows]
    decode: Callable[[Codes, int], Vectors]
    state: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def train_quantizer(
    plan: BuildPlan,
    vectors: VectorRows,
    seed: int,
    device: torch.device | None,
    dtype: torch.dtype | None,
    scratch: Path,
) -> Quantizer:
    """Train the quantizer that a plan names.

    Args:
        plan: The checked request. With imported codes, the codebooks are the mean residuals of each code's items.
        vectors: (N, d) embeddings.
        seed: Seed of everything random.
        device: Where an RQ-VAE trains.
        dtype: Number format in which an RQ-VAE trains.
        scratch: Folder in which an RQ-VAE's training is saved, and from which it resumes.
    """
    if plan.index is not None:
        return residual_quantizer(residual_codes.mean_codebooks(vectors, plan.index.codes, plan.sizes))
    if plan.quantizer == "rq-vae":
        from gti_cli.semantic_ids.quantizers import rqvae_training

        assert device is not None  # `build_ids` chooses one whenever torch is needed.
        trained = rqvae_training.train(
            np.asarray(vectors[:], dtype=np.float32), plan.sizes, seed, device, plan.rqvae, dtype=dtype, scratch=scratch
        )
        metrics = {"epochs": trained.epochs, "stopped": trained.stopped, "revived_codes": trained.revived}
        model = trained.autoencoder
        return Quantizer(
            model.codebooks, model.to_code_space, model.decode, model.state(), {"rqvae": metrics}, trained.history
        )
    if len(vectors) > plan.kmeans.sample:
        console.note(f"codebooks trained on a sample of {plan.kmeans.sample:,} of {len(vectors):,} items")
    codebooks = kmeans.train(vectors, plan.sizes, seed, plan.kmeans)
    return residual_quantizer(codebooks, {"trained_on": min(len(vectors), plan.kmeans.sample)})


def load_quantizer(
    quantizer: str,
    codebooks: Sequence[Vectors],
    state: Mapping[str, npt.NDArray[Any]],
    options: Mapping[str, Any],
) -> Quantizer:
    """Restore the quantizer of an earlier run.

    Args:
        quantizer: Its name in that run's manifest.
        codebooks: L arrays (K_l, d_code), without a suffix level.
        state: Its `Quantizer.state` as it was saved.
        options: Options of that run, from the manifest.
    """
    if quantizer != "rq-vae":
        return residual_quantizer(list(codebooks))
    from gti_cli.semantic_ids.quantizers.rqvae import Autoencoder

    values = dict(options["rqvae"])
    rqvae_options = RQVAEOptions(**{**values, "hidden": tuple(values["hidden"])})  # A list in the manifest's JSON.
    model = Autoencoder.from_state(state, rqvae_options, [len(book) for book in codebooks])
    return Quantizer(list(codebooks), model.to_code_space, model.decode, state)


def residual_quantizer(codebooks: list[Vectors], metrics: dict[str, Any] | None = None) -> Quantizer:
    """The quantizer whose codebooks quantize the embeddings themselves."""
    return Quantizer(
        codebooks,
        lambda vectors: vectors,
        lambda codes, count: residual_codes.decode(codes, codebooks, count),
        metrics=metrics or {},
    )
