"""One number for the old vocabulary, against a log-sum-exp over all of its logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.regression import positions
from gti_cli.grounding.regression.positions import Positions, join, old_log_sum_exp
from tests.support.regression import RULES, head_of, states_of


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("biased", [False, True])
def test_sums_the_old_tokens_and_no_new_one(monkeypatch: pytest.MonkeyPatch, biased: bool, rule: LogitRule) -> None:
    monkeypatch.setattr(positions, "COLUMNS_AT_ONCE", 4)  # several blocks of rows, one of new rows alone
    weight, bias = head_of(3, biased)
    new = torch.tensor([2, 9, 16, 17, 18, 19, 34])
    states, _ = states_of(3, 11)
    old = [n for n in range(len(weight)) if n not in new]
    logits = functional.linear(states, weight, bias) * rule.scale
    logits = logits if rule.cap is None else torch.tanh(logits / rule.cap) * rule.cap
    found = old_log_sum_exp(states, weight, bias, new, rule, at_once=12)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, logits[:, old].logsumexp(1), rtol=0, atol=1e-12)


def test_products_are_rounded_as_the_model_rounds_them() -> None:
    weight, _ = head_of(3, False)
    states, _ = states_of(3, 11)
    mine = old_log_sum_exp(states.bfloat16(), weight.bfloat16(), None, torch.tensor([34]), LogitRule())
    theirs = functional.linear(states.bfloat16(), weight.bfloat16())[:, :34].float().logsumexp(1)
    torch.testing.assert_close(mine, theirs.double(), rtol=0, atol=1e-6)


def test_joins_parts_in_their_order() -> None:
    parts = [Positions(torch.full((n, 2), float(n)), *(torch.full((n,), n) for _ in range(3))) for n in (1, 2)]
    joined = join(parts)
    assert joined.states[:][:, 0].tolist() == [1, 2, 2] and joined.targets.tolist() == [1, 2, 2] and len(joined) == 3
    assert join(parts[:1]) is parts[0]
