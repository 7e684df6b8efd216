from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.quality.figures import collision_figures, level_use, reconstruction
from gti_cli.semantic_ids.quantizers import kmeans, residual_codes, rqvae_training
from tests.support.semantic_ids import SMALL_RQVAE as SMALL
from tests.support.semantic_ids import clouds


def test_training_explains_the_data_and_repeats_itself() -> None:
    vectors = clouds()
    first = rqvae_training.train(vectors, [8, 8, 8], 3, torch.device("cpu"), SMALL)
    again = rqvae_training.train(vectors, [8, 8, 8], 3, torch.device("cpu"), SMALL)
    assert first.autoencoder.to_code_space(vectors).tobytes() == again.autoencoder.to_code_space(vectors).tobytes()
    assert all(
        a.tobytes() == b.tobytes()
        for a, b in zip(first.autoencoder.codebooks, again.autoencoder.codebooks, strict=True)
    )
    codes = residual_codes.encode(first.autoencoder.to_code_space(vectors), first.autoencoder.codebooks)
    kept = reconstruction(vectors, codes, 3, first.autoencoder.decode)
    assert kept[-1]["explained_variance"] > 0.6
    assert kept[0]["error"] > kept[2]["error"]
    assert all(level_use(codes[:, level], 8)["use"] == 1 for level in range(3))
    last = first.history[-1]
    assert last["reconstruction"] == pytest.approx(kept[-1]["error"] / 12 / first.autoencoder.spread**2, rel=1e-3)
    assert last["collisions"] == 300 - collision_figures(codes)["distinct"]
    assert [row["epoch"] for row in first.history] == list(range(1, 31))
    checks = [row["epoch"] for row in first.history if row["reconstruction"] is not None]
    assert checks == [5, 10, 15, 20, 25, 30]
    assert first.stopped == rqvae_training.ALL_EPOCHS


def test_stops_when_nothing_improves_and_says_so() -> None:
    options = RQVAEOptions(hidden=(8,), latent=2, epochs=500, warm_up=30, check_every=2, patience=2, learning_rate=1e-6)
    done = rqvae_training.train(clouds(60, 4), [4, 4], 0, torch.device("cpu"), options)
    assert done.stopped == rqvae_training.STOOD_STILL
    assert done.epochs < 500


def test_dead_codes_are_revived() -> None:
    vectors = clouds(100, 4)
    trainer = rqvae_training._Trainer(vectors, [6], 0, torch.device("cpu"), replace(SMALL, sinkhorn=0.0))
    with torch.no_grad():
        trainer.model.codebooks[0][2:] = 1e6  # far from everything
    trainer._train_epoch()
    assert trainer.done.revived >= 4
    assert float(trainer.model.codebooks[0].detach().abs().max()) < 1e4


def test_one_item_and_items_that_are_all_alike() -> None:
    options = RQVAEOptions(epochs=2, warm_up=1, check_every=1)
    for vectors, size in ((np.ones((1, 5), np.float32), 1), (np.ones((6, 5), np.float32), 2)):
        done = rqvae_training.train(vectors, [size, size], 0, torch.device("cpu"), options)
        assert np.isfinite(done.autoencoder.to_code_space(vectors)).all()
        assert done.autoencoder.decode(np.zeros((1, 2), np.int32), 2).shape == (1, 5)


@pytest.mark.parametrize("start", ["kmeans", "rq-kmeans", "random"])
def test_starts(start: str) -> None:
    vectors = clouds()
    options = replace(SMALL, start=start)
    trainer = rqvae_training._Trainer(vectors, [8, 8], 0, torch.device("cpu"), options)
    before = [book.copy() for book in trainer.autoencoder.codebooks]
    trainer._start_codebooks()
    after = trainer.autoencoder.codebooks
    latents = trainer.autoencoder.to_code_space(vectors)
    if start == "random":
        assert all((a == b).all() for a, b in zip(before, after, strict=True))
    elif start == "kmeans":
        assert all((a == b).all() for a, b in zip(after, kmeans.train(latents, [8, 8], 0), strict=True))
    else:
        codes = residual_codes.encode(vectors, kmeans.train(vectors, [8, 8], 0))
        for code in range(8):
            np.testing.assert_allclose(after[0][code], latents[codes[:, 0] == code].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("stop_at", [5, 12, 20])
def test_an_interrupted_training_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    vectors, cpu = clouds(100), torch.device("cpu")
    whole = rqvae_training.train(vectors, [8, 8], 1, cpu, SMALL)
    real = rqvae_training._Trainer._train_epoch

    def interrupted(self: rqvae_training._Trainer) -> None:
        if self.done.epoch == stop_at:
            raise KeyboardInterrupt
        real(self)

    monkeypatch.setattr(rqvae_training._Trainer, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rqvae_training.train(vectors, [8, 8], 1, cpu, SMALL, scratch=tmp_path)
    monkeypatch.setattr(rqvae_training._Trainer, "_train_epoch", real)
    resumed = rqvae_training.train(vectors, [8, 8], 1, cpu, SMALL, scratch=tmp_path)
    assert resumed.history == whole.history and resumed.revived == whole.revived
    mine, theirs = resumed.autoencoder.state(), whole.autoencoder.state()
    assert all(mine[name].tobytes() == theirs[name].tobytes() for name in theirs)


def test_bfloat16_trains_as_well() -> None:
    vectors = clouds()
    made = rqvae_training.train(vectors, [8, 8, 8], 0, torch.device("cpu"), SMALL, dtype=torch.bfloat16).autoencoder
    codes = residual_codes.encode(made.to_code_space(vectors), made.codebooks)
    assert reconstruction(vectors, codes, 3, made.decode)[-1]["explained_variance"] > 0.5
