from __future__ import annotations

import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from gti_cli.training.adamw import adamw, scale_row_steps, sum_of_rates


def test_scaled_rows_train_like_a_parameter_of_their_own() -> None:
    torch.manual_seed(0)
    start, ids = torch.randn(9, 4) * 0.02, torch.tensor([1, 4, 8])
    others = torch.tensor([0, 2, 3, 5, 6, 7])
    matrix = torch.nn.Embedding(9, 4)
    matrix.weight.data.copy_(start)
    optimizer = adamw(matrix, 1e-3)
    scale_row_steps(optimizer, matrix.weight, ids, 30.0)
    slow, fast = (torch.nn.Parameter(start[part].clone()) for part in (others, ids))
    reference = torch.optim.AdamW([{"params": [slow], "lr": 1e-3}, {"params": [fast], "lr": 3e-2}], weight_decay=0.0)
    for step in range(20):
        target = torch.randn(9, 4, generator=torch.Generator().manual_seed(step))
        for opt in (optimizer, reference):
            opt.zero_grad()
        ((matrix.weight - target) ** 2).sum().backward()
        (((slow - target[others]) ** 2).sum() + ((fast - target[ids]) ** 2).sum()).backward()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(matrix.weight[ids], fast, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(matrix.weight[others], slow, rtol=1e-4, atol=1e-6)


def test_rows_apart_get_their_rate() -> None:
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    rows = torch.nn.Linear(3, 1, bias=False)
    both = torch.nn.ModuleList([model, rows])
    groups = adamw(both, 1e-3, rows=list(rows.parameters()), rows_rate=1e-1).param_groups
    assert [group["lr"] for group in groups] == [1e-3, 1e-1]
    assert [p.shape for group in groups for p in group["params"]] == [(2, 3), (1, 3)]
    assert [group["lr"] for group in adamw(model, 1e-3).param_groups] == [1e-3]


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (10, 0), (100, 3), (57, 20), (5, 5)])
def test_sum_of_rates_is_that_of_the_schedule(steps: int, warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    total = 0.0
    for _ in range(steps):
        total += schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
    assert sum_of_rates(0.3, steps, warmup) == pytest.approx(total)
