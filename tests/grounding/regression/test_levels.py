"""All levels through a model: Algorithm 1's own gradient vanishes where the regressions say so."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gti_cli.grounding.regression import levels, solver
from gti_cli.grounding.regression.objective import Regression
from gti_cli.grounding.regression.problem import make_problem
from gti_cli.grounding.regression.saved_levels import FittedLevel
from gti_cli.grounding.regression.solver import Coordinates, Solution
from gti_cli.grounding.regression.sources import Source
from gti_cli.prompts.examples import Example
from tests.support.grounding import OLD, masked_loss, model_of
from tests.support.regression import fit_all_levels, plain_ridge, to_tokens

KINDS = [("qwen3", True), ("qwen3", False), ("phi", False), ("gemma2", True), ("cohere", True)]


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
    # A third of the answers begins with an old token. Otherwise the old tokens' probability would go to zero, and what
    # the regression knows of them would not matter.
    first = [Example(e.prompt, [7] if n % 3 == 0 else e.answer[:1]) for n, e in enumerate(to_tokens(100)[0])]
    model = model_of(kind, tied)
    level = slice(OLD, OLD + 4)
    before = masked_gradients(model, first, level).norm()
    old = model.get_output_embeddings().weight[:OLD].clone()
    # Held-out examples that are those that are fitted: the last strength, no ridge, is the best one.
    progress = fit_all_levels(model, first, first, tolerance=5e-5)
    assert masked_gradients(model, first, level).norm() < 1e-4 * before
    assert torch.equal(model.get_output_embeddings().weight[:OLD], old)
    (found,) = progress.levels
    assert (found.strength, found.ridge, found.converged) == (0.0, 0.0, True)
    # The losses reported are Algorithm 1's.
    loss = pytest.approx(float(masked_loss(model, first).detach()), abs=1e-5)
    assert found.loss == loss and found.held_out_loss == loss


def assert_only_the_ridge_pulls(
    model: Any, examples: list[Example], ids: slice, start: torch.Tensor, level: FittedLevel
) -> None:
    """At a ridge's solution, Algorithm 1's gradient is what the ridge pulls; its loss is the one reported."""
    moved = (rows_of(model, ids) - start).requires_grad_(True)
    count = ids.stop - ids.start
    # `rows_of` has the biases, a column of the rows, at its end.
    columns = torch.cat([moved[: count * 32].reshape(count, 32), moved[count * 32 :].reshape(-1, count).T], dim=1)
    pull = torch.autograd.grad(plain_ridge(columns) * level.ridge / 2, moved)[0]
    assert (masked_gradients(model, examples, ids) + pull).norm() < 1e-4 * pull.norm()
    assert level.loss == pytest.approx(float(masked_loss(model, examples).detach()), rel=1e-5)


def test_with_a_tied_head_every_level_stands_behind_the_final_rows_before_it() -> None:
    """The last level's rows are read by no state that predicts a code, so their whole gradient is the head's."""
    codes = ended(to_tokens(40)[0], 3)
    model = model_of("qwen3")
    last = slice(OLD + 8, OLD + 12)
    start = rows_of(model, last)
    progress = fit_all_levels(model, codes, None, strengths=(1.0, 0.3), tolerance=1e-5)
    assert_only_the_ridge_pulls(model, codes, last, start, progress.levels[-1])
    found = [(level.places, level.rows, level.positions) for level in progress.levels]
    assert found == [([0], 4, 120), ([1], 4, 120), ([2], 4, 120)]


def test_with_an_untied_head_all_rows_and_the_end_of_the_turn_are_one_problem() -> None:
    examples = to_tokens(40)[0]
    model = model_of("phi", False)
    new = slice(OLD, OLD + 12)
    start = rows_of(model, new)
    inputs = model.get_input_embeddings().weight.clone()
    progress = fit_all_levels(model, examples, examples, strengths=(0.3,), tolerance=1e-5)
    (level,) = progress.levels
    assert_only_the_ridge_pulls(model, examples, new, start, level)
    assert torch.equal(model.get_input_embeddings().weight, inputs)
    assert (level.places, level.rows, level.positions) == ([0, 1, 2, 3], 12, 160)


@pytest.mark.parametrize("tied", [True, False])
def test_held_out_answers_choose_the_strength(tied: bool) -> None:
    examples = ended(to_tokens(30)[0], 3)
    train, held_out = examples[:20], examples[20:]
    model = model_of("qwen3", tied)
    before = float(masked_loss(model, held_out).detach())
    progress = fit_all_levels(model, train, held_out, (30.0, 10.0, 1e-2, 1e-4), 1e-2)
    assert len(progress.levels) == (3 if tied else 1)
    for level in progress.levels:
        # Texts and codes are random: fitting them closely is learning by heart, so the path ends before its end.
        losses = [loss for _, loss in level.tried if loss is not None]
        assert [strength for strength, _ in level.tried] == [30.0, 10.0, 1e-2, 1e-4][: len(losses)]
        assert level.held_out_loss == min(losses) == losses[-2] < losses[-1]
        assert level.strength == level.tried[-2][0]
    # The rows in the model are those of the best strength, and their loss is what Algorithm 1 would measure.
    last = progress.levels[-1].held_out_loss
    assert float(masked_loss(model, held_out).detach()) == pytest.approx(last, rel=1e-5) and last < before


def test_a_start_that_nothing_makes_better_stays(capsys: pytest.CaptureFixture[str]) -> None:
    examples = to_tokens(8)[0]
    unlike = [Example(example.prompt, [3, 4, 5, 6]) for example in examples]  # answers without any new token
    model = model_of("qwen3")
    start = rows_of(model, slice(0, None))
    progress = fit_all_levels(model, examples, unlike, (0.1, 0.01), 1e-2)
    assert [(level.strength, level.ridge, len(level.tried)) for level in progress.levels] == [(None, 0.0, 1)] * 3
    assert capsys.readouterr().err.count("no strength of the ridge lowers the held-out loss") == 3
    assert torch.equal(rows_of(model, slice(0, None)), start)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("held_out", [True, False])
def test_each_strength_begins_where_the_stronger_one_ended(
    tied: bool, held_out: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    solved: list[tuple[Any, ...]] = []
    shown: list[str] = []
    asked: list[tuple[int, list[int], str]] = []

    def solve(problem: Any, begin: torch.Tensor, tolerance: float, *more: Any, **told: Any) -> Solution:
        """The solver, which says that it took 3 steps and 5 evaluations, and got to the tolerance at the end alone."""
        assert told == {"told": advance}
        found = solver.solve(problem, begin, tolerance, *more, **told)
        found = replace(found, steps=3, evaluations=5, converged=problem.ridge < 3 * more[0].typical_curvature())
        solved.append((problem, begin, tolerance, more[0], found))
        return found

    @contextmanager
    def progress(what: str, total: int | None, unit: str) -> Iterator[Any]:
        shown.append(f"{what} {total} {unit}")
        yield advance

    def advance(*_: object) -> None:
        """Count nothing."""

    def positions(self: Source, places: Sequence[int], rule: Any, name: str) -> Any:
        asked.append((len(self._answers), list(places), name))
        spent.append(self.spent)
        return original(self, places, rule, name)

    def make(*given: Any, shared: bool) -> Any:
        assert shared is False
        return make_problem(*given, shared=shared)

    original, spent = Source.positions, []
    monkeypatch.setattr(levels, "make_problem", make)
    monkeypatch.setattr(levels, "time", SimpleNamespace(monotonic=itertools.count(100, 7).__next__))
    monkeypatch.setattr(Source, "positions", positions)
    monkeypatch.setattr(levels, "solve", solve)
    monkeypatch.setattr(levels.console, "progress", progress)
    examples = to_tokens(10)[0]
    held = ended(examples[:6], 2) if held_out else None  # no held-out answer has the third code
    progress_found = fit_all_levels(model_of("qwen3", tied), examples, held, (10.0, 3.0, 1.0), 0.05)
    said = " ".join(capsys.readouterr().err.split())
    assert len(progress_found.levels) == (3 if tied else 1)
    assert spent[0].solver_seconds == 7 * len(progress_found.levels)
    for number, level in enumerate(progress_found.levels):
        places = [number] if tied else [0, 1, 2, 3]
        codes = {example.answer[place] for example in examples for place in places if place < 3}
        assert (level.places, level.rows) == (places, len(codes))
        mine, solved = solved[: len(level.tried)], solved[len(level.tried) :]
        problem, start = mine[0][0], mine[0][0].start
        unit = Coordinates.of(problem).typical_curvature()
        at_start = float(problem.with_ridge(0.0).value_and_gradient(start)[1].norm())
        assert [part[0].ridge for part in mine] == [pytest.approx(strength * unit) for strength, _ in level.tried]
        assert all(part[2] == pytest.approx(0.05 * at_start) for part in mine)
        begins = [start, *(part[4].rows for part in mine)]
        assert all(torch.equal(part[1], begin) for part, begin in zip(mine, begins, strict=False))
        assert (level.steps, level.evaluations) == (3 * len(mine), 5 * len(mine))
        where = f"place {number}" if tied else "all places"
        title = [f"Regression, {where}, ridge {strength:g} None evaluations" for strength, _ in level.tried]
        assert [line for line in shown if f" {where}, ridge" in line] == title
        losses = [loss for _, loss in level.tried]
        if tied and held_out and number == 2:  # no rows are better than those of the start
            found = (level.strength, level.ridge, level.gradient, level.converged, len(mine))
            assert found == (None, 0.0, 1.0, False, 1) and level.loss == pytest.approx(problem.loss(start))
            assert level.held_out_loss < losses[0]
            assert f"regression, {where}: no strength of the ridge lowers the held-out loss" in said
            continue
        best = min(range(len(mine)), key=lambda n: losses[n]) if held_out else 2
        assert level.strength == level.tried[best][0] and level.ridge == pytest.approx(level.strength * unit)
        assert level.gradient == pytest.approx(mine[best][4].gradient / at_start)
        assert level.converged == mine[best][4].converged == (level.strength == 1.0)
        assert level.loss == pytest.approx(problem.loss(mine[best][4].rows)) and level.positions == 40
        assert level.held_out_loss == losses[best]
        note = f"regression, {where}, ridge {level.strength:g}: held-out loss"
        assert (f"{note} {level.held_out_loss:.4f}" in said) if held_out else not said
    assert not solved
    # What is computed behind which rows. Only a tied head is read by the model, so only its states move.
    expected = [(10, [0, 1, 2, 3], "start"), (6, [0, 1], "start"), (10, [1], "fitted"), (6, [1], "fitted")]
    expected.append((10, [2], "fitted"))
    assert asked == [part for part in expected[: 5 if tied else 2] if held_out or part[0] == 10]


def test_rows_that_change_nothing_are_not_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that stays where it begins, at a start without any gradient."""
    monkeypatch.setattr(levels, "solve", lambda _, begin, *more, **told: Solution(begin, 1.0, 0.0, 1, 1, True))
    monkeypatch.setattr(Regression, "value_and_gradient", lambda self, rows: (torch.zeros(()), torch.zeros_like(rows)))
    examples = to_tokens(10)[0]
    (level,) = fit_all_levels(model_of("qwen3", False), examples, examples, (3.0, 1.0), 0.1).levels
    assert (level.strength, len(level.tried), level.gradient) == (None, 1, 0.0)
    assert level.tried[0][1] == level.held_out_loss


def test_strengths_that_are_not_given() -> None:
    examples = to_tokens(10)[0]
    model = model_of("qwen3", False)
    unseen = fit_all_levels(model, examples, None, None, 0.5)
    assert [strength for strength, _ in unseen.levels[0].tried] == [10.0, 3.0]
    tried = [strength for strength, _ in fit_all_levels(model, examples, examples, None, 0.5).levels[0].tried]
    assert tried == [10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3][: len(tried)] and len(tried) > 2
