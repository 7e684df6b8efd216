"""One vector for all rows that end an answer, so that the model ends its turn behind them again.

The end of the turn is predicted behind an answer's last new token, whose row the model reads there. A regression fits a
tied row as what hidden states are compared with, and knows nothing of how it is read: behind fitted rows, the old token
that ends the turn is improbable. What is missing is the same behind all of them ("the answer is complete"), so it is
one vector (d,), added to every row that ends an answer. So few numbers are learned from a few batches, without
learning any pair by heart. Ordinary gradient steps repair the ends, too, but they move every row at Adam's rate, and
undo what was solved for (tests/benchmarks/study).

The loss is Algorithm 1's, so what the vector does to the rows' own logits counts as well.

Comes after `levels`, called by `regress`. An untied head has no need of it: its regression covers the end of the turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gti_cli import console
from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.training.batches.batch_plan import BatchPlan, SharedPlan
from gti_cli.workspace import processes

STEPS, BATCH = 30, 16
RATE_SHARE = 0.15  # of the distance between two pretrained rows, in a step


def ending_rows(answers: Sequence[Sequence[int]], ids: torch.Tensor) -> torch.Tensor:
    """Numbers (k,) int64, increasing, of the new rows behind which an answer has old tokens alone.

    Args:
        answers: Token ids of each answer.
        ids: (n,) int64. Token ids of the new rows.
    """
    new = set(ids.tolist())
    ends: set[int] = set()
    for answer in answers:
        last = max((place for place, token in enumerate(answer) if token in new), default=None)
        if last is not None and last + 1 < len(answer):
            ends.add(answer[last])
    return torch.isin(ids.cpu(), torch.tensor(sorted(ends), dtype=torch.int64)).nonzero().squeeze(1)


def shift_endings(trained: GroundingModel, collator: Collator, rate: float, seed: int, steps: int = STEPS) -> int:
    """Learn the vector with Adam, and leave the shifted rows in the model.

    The processes of a launch share each batch, and get the same vector.

    Args:
        trained: The frozen model with the fitted rows attached. Its head is tied.
        collator: Makes batches of the training examples.
        rate: Peak learning rate; it decays to 0 over the last two thirds of the steps.
        seed: Seed of the batches.
        steps: Number of steps.

    Returns:
        Number of rows that were shifted.
    """
    rows, corpus = trained.rows, collator.corpus
    chosen = ending_rows([example.answer for example in corpus.examples], rows.ids).to(rows.ids.device)
    if not len(chosen):
        return 0
    lengths = corpus.computed_lengths()
    plan = BatchPlan(lengths, [1] * len(lengths), size=BATCH, epochs=1.0, max_steps=steps, seed=seed)
    shared = SharedPlan(plan, processes.world(), processes.rank())
    fitted = rows.embedding.detach()[chosen].clone()
    shift = torch.zeros_like(fitted[0], requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=rate)
    mode = trained.training
    trained.train()
    with console.progress("Ends of answers", steps, "steps") as advance:
        for step, batch in enumerate(shared):
            optimizer.param_groups[0]["lr"] = rate * min(1.0, 1.5 * (steps - step) / steps)
            shift.grad = _gradient(trained, collator, batch, chosen)
            optimizer.step()
            with torch.no_grad():
                rows.embedding[chosen] = fitted + shift
            advance(1)
    trained.train(mode)
    rows.sync()
    return len(chosen)


def _gradient(trained: GroundingModel, collator: Collator, batch: Sequence[int], chosen: torch.Tensor) -> torch.Tensor:
    """Gradient (d,) of the mean loss of a batch, of which this process has a share, for the rows' common shift."""
    embedding, device = trained.rows.embedding, trained.rows.ids.device
    groups = [{name: value.to(device) for name, value in group.items()} for group in collator(batch)["groups"]]
    loss, count = trained(groups)
    loss.backward()
    assert embedding.grad is not None
    # The gradient, and the number of tokens behind it: one exchange between processes for both.
    sums = torch.cat([embedding.grad[chosen].sum(0), count.to(embedding.grad)[None]])
    trained.zero_grad(set_to_none=True)
    if processes.world() > 1:
        torch.distributed.all_reduce(sums)
    gradient: torch.Tensor = sums[:-1] / sums[-1]
    return gradient
