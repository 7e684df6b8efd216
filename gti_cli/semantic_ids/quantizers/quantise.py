"""Quantisers behind one face: residual k-means, RQ-VAE, or codes that came from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.plan import Plan
from gti_cli.semantic_ids.quantizers import kmeans, residuals
from gti_cli.tensors.vector_file import VectorRows

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Quantiser:
    """A trained quantiser.

    Attributes:
        codebooks: L arrays (K_l, d_code). to_space: embeddings (N, d) -> what the codebooks quantise (N, d_code).
        decode: (codes, number of levels) -> embeddings (n, d). state: arrays that `load` needs beyond the codebooks.
        metrics, history: what training reports.
    """

    codebooks: list[Vectors]
    to_space: Callable[[VectorRows], VectorRows]
    decode: Callable[[Codes, int], Vectors]
    state: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def train(
    plan: Plan,
    vectors: VectorRows,
    seed: int,
    device: torch.device | None,
    dtype: torch.dtype | None,
    scratch: Path,
) -> Quantiser:
    """Train the quantiser that ``plan`` asks for on the embeddings ``vectors`` (N, d).

    ``device`` and ``dtype`` are for an RQ-VAE, which keeps its training in ``scratch`` and goes on from what is there.
    """
    if plan.index is not None:
        return residual(residuals.mean_codebooks(vectors, plan.index.codes, plan.sizes))
    if plan.quantizer == "rq-vae":
        from gti_cli.semantic_ids.quantizers import rqvae_training

        assert device is not None  # build_ids gives one whenever torch is needed
        done = rqvae_training.train(
            np.asarray(vectors[:], dtype=np.float32), plan.sizes, seed, device, plan.rqvae, dtype=dtype, scratch=scratch
        )
        metrics = {"epochs": done.epochs, "stopped": done.stopped, "revived_codes": done.revived}
        made = done.autoencoder
        return Quantiser(made.codebooks, made.to_space, made.decode, made.state(), {"rqvae": metrics}, done.history)
    if len(vectors) > plan.kmeans.sample:
        console.note(f"codebooks trained on a sample of {plan.kmeans.sample:,} of {len(vectors):,} items")
    codebooks = kmeans.train(vectors, plan.sizes, seed, plan.kmeans)
    return residual(codebooks, {"trained_on": min(len(vectors), plan.kmeans.sample)})


def load(
    quantizer: str,
    codebooks: Sequence[Vectors],
    state: Mapping[str, npt.NDArray[Any]],
    options: Mapping[str, Any],
) -> Quantiser:
    """A quantiser as an earlier run left it.

    Args:
        quantizer: its kind. codebooks: L arrays, without a suffix level. state: as it was saved.
        options: of the earlier run, from the manifest.
    """
    if quantizer != "rq-vae":
        return residual(list(codebooks))
    from gti_cli.semantic_ids.quantizers.rqvae import Autoencoder

    given = dict(options["rqvae"])
    made = Autoencoder.from_state(
        state, RQVAEOptions(**{**given, "hidden": tuple(given["hidden"])}), [len(book) for book in codebooks]
    )
    return Quantiser(list(codebooks), made.to_space, made.decode, state)


def residual(codebooks: list[Vectors], metrics: dict[str, Any] | None = None) -> Quantiser:
    """Codebooks that quantise the embeddings themselves."""
    return Quantiser(
        codebooks,
        lambda vectors: vectors,
        lambda codes, count: residuals.decode(codes, codebooks, count),
        metrics=metrics or {},
    )
