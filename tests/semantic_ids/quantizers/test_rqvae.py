from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.quality import quality
from gti_cli.semantic_ids.quantizers import kmeans, residuals, rqvae_resume, rqvae_training
from gti_cli.semantic_ids.quantizers.rqvae import RQVAE, Autoencoder, nearest

SMALL = RQVAEOptions(hidden=(32, 16), latent=8, epochs=30, batch_size=64, warm_up=10, check_every=5)


def clouds(n: int = 300, width: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, width))
    return (centres[rng.integers(12, size=n)] + 0.3 * rng.standard_normal((n, width))).astype(np.float32)


def test_quantise_is_naive_residual_assignment() -> None:
    torch.manual_seed(0)
    model = RQVAE(6, [7, 5], [16], 4, 0.0)
    latents = torch.randn(20, 4)
    total, seen, codes = model.quantise(latents)
    for row in range(20):
        rest, summed = latents[row].clone(), torch.zeros(4)
        for level, book in enumerate(model.codebooks):
            torch.testing.assert_close(seen[level, row], rest)
            best = min(range(len(book)), key=lambda code: float((rest - book[code]).square().sum().detach()))
            assert int(codes[row, level]) == best
            rest, summed = rest - book[best].detach(), summed + book[best].detach()
        torch.testing.assert_close(total[row].detach(), summed)


def test_losses_and_gradients_by_hand() -> None:
    """One layer of nothing but linear maps, one level: every gradient can be written down."""
    torch.manual_seed(1)
    model = RQVAE(3, [4], [], 2, 0.0)
    rows = torch.randn(5, 3)
    step = model(rows, 0.25)
    latents = rows @ model.encoder[0].weight.T + model.encoder[0].bias
    code = nearest(latents, model.codebooks[0])
    chosen = model.codebooks[0][code]
    difference = (latents - chosen).detach()
    assert step.quantisation.item() == pytest.approx(float(difference.square().mean() * 1.25), rel=1e-5)
    (step.reconstruction + step.quantisation).backward()
    output = chosen.detach() @ model.decoder[0].weight.T + model.decoder[0].bias
    assert step.reconstruction.item() == pytest.approx((output - rows).square().mean().item(), rel=1e-5)
    # To the codebook: only the codebook loss. To the latents: straight-through and commitment.
    expected = torch.zeros(4, 2).index_add_(0, code, -2 * difference / difference.numel())
    torch.testing.assert_close(model.codebooks[0].grad, expected)
    to_latents = (2 * (output - rows) / rows.numel()) @ model.decoder[0].weight + 0.25 * 2 * difference / 10
    torch.testing.assert_close(model.encoder[0].weight.grad, to_latents.detach().T @ rows)


def test_training_explains_the_data_and_repeats_itself() -> None:
    vectors = clouds()
    first = rqvae_training.train(vectors, [8, 8, 8], 3, torch.device("cpu"), SMALL)
    again = rqvae_training.train(vectors, [8, 8, 8], 3, torch.device("cpu"), SMALL)
    assert first.autoencoder.to_space(vectors).tobytes() == again.autoencoder.to_space(vectors).tobytes()
    assert all(
        a.tobytes() == b.tobytes()
        for a, b in zip(first.autoencoder.codebooks, again.autoencoder.codebooks, strict=True)
    )
    codes = residuals.encode(first.autoencoder.to_space(vectors), first.autoencoder.codebooks)
    kept = quality.reconstruction(vectors, codes, 3, first.autoencoder.decode)
    assert kept[-1]["explained_variance"] > 0.6
    assert kept[0]["error"] > kept[2]["error"]
    assert all(quality.level_use(codes[:, level], 8)["use"] == 1 for level in range(3))
    last = first.history[-1]
    assert last["reconstruction"] == pytest.approx(kept[-1]["error"] / 12 / first.autoencoder.spread**2, rel=1e-3)
    assert last["collisions"] == 300 - quality.collision_figures(codes)["distinct"]
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
        assert np.isfinite(done.autoencoder.to_space(vectors)).all()
        assert done.autoencoder.decode(np.zeros((1, 2), np.int32), 2).shape == (1, 5)


def test_saved_and_loaded_it_is_the_same() -> None:
    vectors = clouds(60, 5)
    made = rqvae_training.train(vectors, [4, 6], 0, torch.device("cpu"), SMALL).autoencoder
    again = Autoencoder.from_state(made.state(), SMALL, [4, 6])
    assert made.to_space(vectors).tobytes() == again.to_space(vectors).tobytes()
    codes = residuals.encode(made.to_space(vectors), made.codebooks)
    assert made.decode(codes, 1).tobytes() == again.decode(codes, 1).tobytes()


def test_sizes_follow_the_embeddings() -> None:
    assert RQVAEOptions().fitted(1024) == ([1024, 512, 256], 32)
    assert RQVAEOptions().fitted(16) == ([64, 64, 64], 16)
    assert [RQVAEOptions().batch(n, 64) for n in (100, 8000, 10**6)] == [256, 500, 1024]
    assert RQVAEOptions(sinkhorn=0).batch(100, 64) == 32


@pytest.mark.parametrize(
    "bad",
    [
        {"hidden": ()},
        {"hidden": (0,)},
        {"latent": 0},
        {"dropout": 1.0},
        {"learning_rate": 0.0},
        {"epochs": 0},
        {"commitment": float("nan")},
        {"warm_up": -1},
        {"start": "there"},
        {"diversity": -1.0},
        {"sinkhorn": float("nan")},
    ],
)
def test_numbers_that_make_no_sense(bad: dict) -> None:
    with pytest.raises(InputError, match="--"):
        RQVAEOptions(**bad).check()


@pytest.mark.parametrize("start", ["kmeans", "rq-kmeans", "random"])
def test_starts(start: str) -> None:
    vectors = clouds()
    options = replace(SMALL, start=start)
    trainer = rqvae_training._Trainer(vectors, [8, 8], 0, torch.device("cpu"), options)
    before = [book.copy() for book in trainer.autoencoder.codebooks]
    trainer._start_codebooks()
    after = trainer.autoencoder.codebooks
    latents = trainer.autoencoder.to_space(vectors)
    if start == "random":
        assert all((a == b).all() for a, b in zip(before, after, strict=True))
    elif start == "kmeans":
        assert all((a == b).all() for a, b in zip(after, kmeans.train(latents, [8, 8], 0), strict=True))
    else:
        codes = residuals.encode(vectors, kmeans.train(vectors, [8, 8], 0))
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


def test_a_damaged_state_is_started_over(tmp_path: Path) -> None:
    (tmp_path / rqvae_resume.FILE).write_bytes(b"half a file")
    done = rqvae_training.train(clouds(50), [4], 0, torch.device("cpu"), SMALL, scratch=tmp_path)
    assert len(done.history) == 30


def test_bfloat16_trains_as_well() -> None:
    vectors = clouds()
    made = rqvae_training.train(vectors, [8, 8, 8], 0, torch.device("cpu"), SMALL, dtype=torch.bfloat16).autoencoder
    codes = residuals.encode(made.to_space(vectors), made.codebooks)
    assert quality.reconstruction(vectors, codes, 3, made.decode)[-1]["explained_variance"] > 0.5
