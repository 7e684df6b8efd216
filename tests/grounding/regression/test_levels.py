"""All levels through a model: Algorithm 1's own gradient vanishes where the regressions say so."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.head_loss import find_logit_rule
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression import levels
from gti_cli.grounding.regression.levels import FittedLevel, Source, fit_levels
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import Example
from tests.support.grounding import NEW_IDS, OLD, PAD, masked_loss, model_of
from tests.support.regression import plain_ridge, to_tokens

KINDS = [("qwen3", True), ("qwen3", False), ("phi", False), ("gemma2", True), ("cohere", True)]


def fit(
    model: Any,
    train: list[Example],
    held_out: list[Example],
    ridges: Any = (1.0, 0.0),
    tolerance: float = 2e-5,
    look_ahead: bool = True,
) -> list[FittedLevel]:
    """Fit all levels; no example is divided, for those of the first place alone cannot be."""
    rows = NewRows(model, NEW_IDS)
    with rows.attached():
        rule = find_logit_rule(model, rows)
        assert rule is not None
        sources = []
        for examples in (train, held_out):
            zeros = [0] * len(examples)
            corpus = divide_examples(examples, zeros, zeros, set(NEW_IDS.tolist()), whole=True)
            sources.append(Source(GroundingModel(model, rows, corpus.prefixes), corpus, PAD, torch.device("cpu")))
        return fit_levels(*sources, rule, ridges, tolerance, look_ahead)


def head_weights(model: Any) -> list[Any]:
    head = model.get_output_embeddings()
    return [head.weight, *([head.bias] if getattr(head, "bias", None) is not None else [])]


def rows_of(model: Any, ids: slice) -> torch.Tensor:
    """A flat copy of the head's rows, then the biases, of some tokens."""
    return torch.cat([weight.detach()[ids].flatten() for weight in head_weights(model)])


def masked_gradients(model: Any, examples: list[Example], ids: slice) -> torch.Tensor:
    """Gradient of Algorithm 1's loss with respect to `rows_of`."""
    weights = [weight.requires_grad_(True) for weight in head_weights(model)]
    gradients = torch.autograd.grad(masked_loss(model, examples), weights)
    return torch.cat([gradient[ids].flatten() for gradient in gradients])


def ended(examples: list[Example], places: int) -> list[Example]:
    return [Example(example.prompt, example.answer[:places]) for example in examples]


@pytest.mark.parametrize(("kind", "tied"), KINDS)
def test_algorithm_1_has_nothing_left_to_do_at_level_0(kind: str, tied: bool) -> None:
    first = ended(to_tokens(200)[0], 1)
    model = model_of(kind, tied)
    level = slice(OLD, OLD + 4)
    before = masked_gradients(model, first, level).norm()
    old = model.get_output_embeddings().weight[:OLD].clone()
    # Held-out examples that are those that are fitted: the last ridge, none, is the best one.
    fitted = fit(model, first, first)
    assert masked_gradients(model, first, level).norm() < 1e-4 * before
    assert torch.equal(model.get_output_embeddings().weight[:OLD], old)
    assert len(fitted) == 1 and fitted[0].best == 2 and fitted[0].points[-1].converged
    # The report's loss is Algorithm 1's.
    assert fitted[0].points[-1].loss == pytest.approx(float(masked_loss(model, first).detach()), abs=1e-5)


def assert_only_the_ridge_pulls(
    model: Any, examples: list[Example], ids: slice, start: torch.Tensor, level: FittedLevel
) -> None:
    """At a ridge's solution, Algorithm 1's gradient is what the ridge pulls; its loss is the one reported."""
    moved = (rows_of(model, ids) - start).requires_grad_(True)
    count = ids.stop - ids.start
    # `rows_of` has the biases, a column of the rows, at its end.
    columns = torch.cat([moved[: count * 32].reshape(count, 32), moved[count * 32 :].reshape(-1, count).T], dim=1)
    pull = torch.autograd.grad(plain_ridge(columns) * level.points[-1].ridge / 2, moved)[0]
    assert (masked_gradients(model, examples, ids) + pull).norm() < 1e-4 * pull.norm()
    assert level.points[-1].loss == pytest.approx(float(masked_loss(model, examples).detach()), rel=1e-5)


def test_with_a_tied_head_every_level_stands_behind_the_final_rows_before_it() -> None:
    """The last level's rows are read by no state that predicts a code, so their whole gradient is the head's."""
    codes = ended(to_tokens(100)[0], 3)
    model = model_of("qwen3")
    last = slice(OLD + 8, OLD + 12)
    start = rows_of(model, last)
    fitted = fit(model, codes, codes, ridges=(0.3,), tolerance=1e-5)
    assert_only_the_ridge_pulls(model, codes, last, start, fitted[-1])
    assert [(level.places, level.rows, level.positions) for level in fitted] == [
        ([0], 4, 300),
        ([1], 4, 300),
        ([2], 4, 300),
    ]


def test_with_an_untied_head_all_rows_and_the_end_of_the_turn_are_one_problem() -> None:
    examples = to_tokens(100)[0]
    model = model_of("phi", False)
    new = slice(OLD, OLD + 12)
    start = rows_of(model, new)
    inputs = model.get_input_embeddings().weight.clone()
    fitted = fit(model, examples, examples, ridges=(0.3,), tolerance=1e-5)
    assert_only_the_ridge_pulls(model, examples, new, start, fitted[-1])
    assert torch.equal(model.get_input_embeddings().weight, inputs)
    assert [(level.places, level.rows, level.positions) for level in fitted] == [([0, 1, 2, 3], 12, 400)]


def test_same_examples_same_bytes_and_held_out_examples_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = to_tokens(40)[0]
    train, held_out = examples[:30], examples[30:]
    rows, losses = [], []
    for rounds, look_ahead in ((2, False), (2, False), (0, False), (0, True)):
        monkeypatch.setattr(levels, "ROUNDS_OF_ENDING", rounds)
        model = model_of("qwen3")
        fitted = fit(model, train, held_out, (10.0, 1.0, 0.1), 1e-2, look_ahead)
        rows.append(model.get_input_embeddings().weight[OLD:].clone())
        losses.append(float(masked_loss(model, held_out)))
        for level in fitted:
            of_path = [point.held_out_loss for point in level.points]
            assert of_path[level.best] == min(of_path)
        sizes = [(level.places[0], level.held_out_positions) for level in fitted]
        assert sizes[:3] == [
            (0, 40 if look_ahead else 10),
            (1, 40 if look_ahead else 20),
            (2, 40 if look_ahead else 30),
        ]
        assert set(sizes[3:]) == ({(3, 40)} if rounds else set())
    assert torch.equal(rows[0], rows[1])
    # The end of the turn has been looked at: the rows of level 2 alone differ, and all held-out tokens are likelier.
    assert torch.equal(rows[0][:8], rows[2][:8]) and losses[0] < losses[2]
    assert losses[3] < losses[2], losses  # so they are after a look ahead
