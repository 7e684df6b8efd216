"""Fits the prior `content-knn`: its settings by NDCG@10 of held-out items, then its temperature by their likelihood."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from gti_cli import console
from gti_cli.baselines.content_knn import Spread
from gti_cli.baselines.content_knn_tuning import tune_content_knn
from gti_cli.errors import InputError
from gti_cli.priors.calibration import COSINE_TEMPERATURES, calibrate
from gti_cli.priors.content_knn_prior import ContentKnnPrior, Halves, PlainTargetMasses
from gti_cli.priors.prior_data import FittedPrior, PriorData
from gti_cli.tensors.vector_file import VectorFile


def read_embeddings(data: PriorData) -> Halves:
    """Read the embeddings (N, d) of the catalogue, in the precision in which they are stored with the prior.

    Raises:
        InputError: When there are none, or not one for each item.
    """
    path = data.embeddings
    if path is None or not path.is_file():
        raise InputError(
            "--prior content-knn compares embeddings of items, and the workspace has none",
            where=str(path) if path is not None else None,
            remedy="make semantic IDs with 'gti build-ids', or leave content-knn out",
        )
    file = VectorFile(path)
    if len(file) != len(data.row_of):
        raise InputError(
            f"{len(file):,} embeddings, but {len(data.row_of):,} items",
            where=str(path),
            remedy="run 'gti build-ids' again with --force",
        )
    wide = np.asarray(file[:])
    with np.errstate(over="ignore"):
        vectors: Halves = wide.astype(np.float16)
    if not np.isfinite(vectors).all() or not np.array_equal(vectors.any(axis=1), wide.any(axis=1)):
        largest, smallest = np.abs(wide).max(), np.abs(wide).max(axis=1)[wide.any(axis=1)].min()
        raise InputError(
            f"the largest values of the embeddings lie between {smallest:.1e} and {largest:.1e}, and the prior holds "
            "them in float16",
            where=str(path),
            remedy="give 'gti build-ids' embeddings of about unit length, or leave content-knn out",
        )
    return vectors


def fit_content_knn(vectors: Halves, data: PriorData) -> FittedPrior:
    """Tune the prior.

    Args:
        vectors: (N, d) embeddings, from `read_embeddings`.
        data: What it is tuned on.
    """
    wide = vectors.astype(np.float32)
    spread = Spread.measure(wide)
    outcome = tune_content_knn(wide, spread, data.tuning_split()[1], data.row_of, filter_seen=False)
    parts, targets = data.held_out()
    untempered = ContentKnnPrior(vectors, spread, outcome.best)
    measured = calibrate(untempered, [part.items[:-1] for part in parts], targets, COSINE_TEMPERATURES)
    prior = untempered.with_temperature(measured.temperature)
    console.note(
        f"prior content-knn: NDCG@10 {measured.ndcg:.4f} on {measured.targets:,} held-out items, seen items kept"
    )
    report = {**outcome.report(), "calibration": asdict(measured), "most_items": prior.most_items}
    return FittedPrior(prior, PlainTargetMasses(prior), report)
