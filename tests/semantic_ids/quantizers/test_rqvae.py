from __future__ import annotations

import numpy as np
import pytest
import torch

from gti_cli.semantic_ids.quantizers import residual_codes, rqvae_training
from gti_cli.semantic_ids.quantizers.rqvae import RQVAE, Autoencoder, nearest
from tests.support.semantic_ids import TINY_RQVAE, clouds


def test_quantize_is_naive_residual_assignment() -> None:
    torch.manual_seed(0)
    model = RQVAE(6, [7, 5], [16], 4, 0.0)
    latents = torch.randn(20, 4)
    total, seen, codes = model.quantize(latents)
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
    assert step.quantization.item() == pytest.approx(float(difference.square().mean() * 1.25), rel=1e-5)
    (step.reconstruction + step.quantization).backward()
    output = chosen.detach() @ model.decoder[0].weight.T + model.decoder[0].bias
    assert step.reconstruction.item() == pytest.approx((output - rows).square().mean().item(), rel=1e-5)
    # To the codebook: only the codebook loss. To the latents: straight-through and commitment.
    expected = torch.zeros(4, 2).index_add_(0, code, -2 * difference / difference.numel())
    torch.testing.assert_close(model.codebooks[0].grad, expected)
    to_latents = (2 * (output - rows) / rows.numel()) @ model.decoder[0].weight + 0.25 * 2 * difference / 10
    torch.testing.assert_close(model.encoder[0].weight.grad, to_latents.detach().T @ rows)


def test_saved_and_loaded_it_is_the_same() -> None:
    vectors = clouds(60, 5)
    made = rqvae_training.train(vectors, [4, 6], 0, torch.device("cpu"), TINY_RQVAE).autoencoder
    again = Autoencoder.from_state(made.state(), TINY_RQVAE, [4, 6])
    assert made.to_code_space(vectors).tobytes() == again.to_code_space(vectors).tobytes()
    codes = residual_codes.encode(made.to_code_space(vectors), made.codebooks)
    assert made.decode(codes, 1).tobytes() == again.decode(codes, 1).tobytes()


def test_reconstructing_goes_through_scale_and_back() -> None:
    """A model whose encoder and decoder are the identity: latents are the scaled embeddings."""
    model = RQVAE(2, [3], [], 2, 0.0)
    with torch.no_grad():
        for layer in (model.encoder[0], model.decoder[0]):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    autoencoder = Autoencoder(model, torch.tensor([1.0, -1.0]), 2.0)
    vectors = np.array([[3, 1], [1, -1]], dtype=np.float32)
    np.testing.assert_allclose(autoencoder.to_code_space(vectors), [[1, 1], [0, 0]], atol=1e-6)
    codes = np.array([[2]], dtype=np.int32)
    np.testing.assert_allclose(autoencoder.decode(codes, 1)[0], autoencoder.codebooks[0][2] * 2 + [1, -1], atol=1e-6)


def test_sinkhorn_balances_the_last_level_only() -> None:
    torch.manual_seed(0)
    model = RQVAE(4, [4, 4], [], 4, 0.0)
    latents = torch.randn(32, 4) * 0.01 + 1  # near one another: the nearest code is the same for nearly all
    _, _, plain = model.quantize(latents)
    _, _, balanced = model.quantize(latents, 0.05)
    assert torch.equal(plain[:, 0], balanced[:, 0])
    assert torch.bincount(balanced[:, 1], minlength=4).max() < torch.bincount(plain[:, 1], minlength=4).max()
