"""Constants folded into one number per position."""

from __future__ import annotations

import pytest
import torch

from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression.problem import make_problem
from tests.support.regression import OLD_ROWS, RULES, head_of, plain_loss, positions_of, rows_of, states_of


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("biased", [False, True])
def test_some_rows_as_unknowns_have_the_plain_loss_and_gradient(biased: bool, rule: LogitRule) -> None:
    weight, bias = head_of(5, biased)
    parts = [positions_of(5, 12, biased, rule), positions_of(6, 7, biased, rule)]
    # The second part has states of its own, but the first part's head.
    states, targets = (torch.cat(both) for both in zip(states_of(5, 12), states_of(6, 7), strict=True))
    logits = rule(torch.nn.functional.linear(states[12:], weight, bias))
    old_targets = torch.where(targets[12:] < OLD_ROWS, logits.gather(1, targets[12:, None]).squeeze(1), 0.0)
    parts[1] = type(parts[1])(states[12:], logits[:, :OLD_ROWS].logsumexp(1), parts[1].targets, old_targets)
    unknowns = torch.tensor([1, 4])
    problem = make_problem(parts, rows_of(weight, bias), unknowns, rule, at_once=25)
    loss = plain_loss(states, targets, weight.requires_grad_(True), bias, rule)
    gradient = torch.autograd.grad(loss, weight)[0][OLD_ROWS + unknowns]
    value, mine = problem.value_and_gradient(problem.start)
    assert value == pytest.approx(float(loss.detach()), rel=1e-12)
    torch.testing.assert_close(mine[:, : weight.shape[1]], gradient, rtol=1e-9, atol=1e-12)


def test_no_constant_row_leaves_the_old_tokens_alone() -> None:
    positions = positions_of(5, 12, False, LogitRule())
    problem = make_problem([positions], rows_of(*head_of(5, False)), torch.arange(5), LogitRule())
    assert problem.others is positions.old


def test_positions_of_other_processes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a second process held the same positions."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda sums: sums.mul_(2))
    given = ([positions_of(5, 12, False, LogitRule())], rows_of(*head_of(5, False)), torch.tensor([1, 4]), LogitRule())
    alone, shared = make_problem(*given), make_problem(*given, shared=True)
    assert (alone.count, shared.count) == (None, 24)
    assert shared.loss(shared.start) == pytest.approx(alone.loss(alone.start), rel=1e-12)
