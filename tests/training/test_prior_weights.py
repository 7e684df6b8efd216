"""Biased logits, against a loop; what they train, and that the model is a plain one afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gti_cli.training.prior_weights import PriorWeights, attach, detach, find
from tests.support.models import make_model

IDS = [np.asarray([7, 3, 5]), np.asarray([10, 11])]  # The second level is narrower.
CHANNELS = [[0.5, 2.0], [-1.0, 0.3]]
ROWS, TARGETS, VOCABULARY = 2, 3, 13


@pytest.mark.parametrize(("opening", "closing"), [(0, 0), (1, 1)])
def test_the_bias_meets_the_codes_of_each_level_alone(opening: int, closing: int) -> None:
    length = opening + 2 + closing + 1  # two codes, and the end
    weights = PriorWeights(IDS, CHANNELS, opening=opening, answer_length=length)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(ROWS, TARGETS * length, VOCABULARY, generator=generator)
    bias = torch.randn(ROWS, TARGETS, 2, 2, 3, generator=generator)
    bias[:, :, :, 1, 2] = 0
    expected = logits.clone()
    for row in range(ROWS):
        for target in range(TARGETS):
            for level, ids in enumerate(IDS):
                for code, token in enumerate(ids):
                    place = target * length + opening + level
                    for channel, of_levels in enumerate(CHANNELS):
                        expected[row, place, token] += of_levels[level] * bias[row, target, channel, level, code]
    leaf = logits.clone().requires_grad_()
    actual = weights.add_to(leaf * 1.0, bias)
    torch.testing.assert_close(actual.detach(), expected)

    factors = torch.randn(expected.shape, generator=generator)
    (actual * factors).sum().backward()
    # The gradient reaches the logits unchanged, and each weight gets the sum over its codes.
    torch.testing.assert_close(leaf.grad, factors)
    by_target = factors.view(ROWS, TARGETS, length, VOCABULARY)
    for level, ids in enumerate(IDS):
        for channel in range(2):
            of_level = by_target[:, :, opening + level, ids] * bias[:, :, channel, level, : len(ids)]
            torch.testing.assert_close(weights.weights.grad[channel, level], of_level.sum())


def test_the_weights_are_a_part_of_the_model_until_they_are_taken_out() -> None:
    model = make_model("qwen3", 20)
    plain = set(model.state_dict())
    assert find(model) is None and detach(model) is None
    weights = PriorWeights(IDS, CHANNELS, opening=0, answer_length=3)
    attach(model, weights)
    assert find(torch.nn.Sequential(model)) is weights
    assert set(model.state_dict()) - plain == {"behaviour_prior.weights"}  # the token ids are not stored
    assert any(parameter is weights.weights for parameter in model.parameters())
    assert detach(model) is weights
    assert set(model.state_dict()) == plain


def test_of_the_weights_and_a_copy_the_one_that_trains_is_found() -> None:
    frozen, copy = (PriorWeights(IDS, [0.5, 2.0], opening=0, answer_length=3) for _ in range(2))
    frozen.requires_grad_(False)
    assert find(torch.nn.Sequential(frozen, copy)) is copy
    assert find(torch.nn.Sequential(frozen)) is frozen
