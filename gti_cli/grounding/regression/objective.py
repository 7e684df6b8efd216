"""The loss of a set of new rows at positions whose hidden states are fixed, with its derivatives in closed form.

Derivation. Let position i have the hidden state h_i and predict token t_i. The unknowns are the rows w_j of n new
tokens. Every other token, old or new, is constant, and all of them together are one number a_i, the log-sum-exp of
their logits. With z_ij = w_j . h_i, logits l_ij = f(z_ij) and f the model's rule, Algorithm 1's mean negative
log-likelihood, with a ridge towards the start, is

    L(w) = mean_i [log(exp(a_i) + sum_j exp(l_ij)) - l_i,t_i] + ridge / 2 * min_s (|s|^2 + sum_j |w_j - start_j - s|^2).

With p_ij = exp(l_ij) / (exp(a_i) + sum_k exp(l_ik)) and y_ij = 1 where t_i = j, else 0:

    gradient    dL/dw_j = mean_i (p_ij - y_ij) f'(z_ij) h_i + ridge (m_j - sum_k m_k / (n + 1)), m_j = w_j - start_j
    in direction v, with u_ij = f'(z_ij) (v_j . h_i) and c_ij = (p_ij - y_ij) f''(z_ij) (v_j . h_i):
    Hessian     (H v)_j = mean_i [f'(z_ij) p_ij (u_ij - sum_k p_ik u_ik) + c_ij] h_i + ridge (v_j - sum_k v_k / (n + 1))

The shift s is shared by all rows and costs as much as the move of one row. Without it, a ridge that keeps rows with few
examples from learning these by heart would also keep all rows together from becoming probable where their level is due.

Without a soft cap f is linear, c vanishes, and v . H v is a mean of variances: L is convex, and strictly so with a
ridge. With a cap, c can be negative, and L is convex only where the ridge outweighs it (`ridge_for_convexity`); the
gradient and the Hessian above stay exact. A head's bias is one more coordinate of each row, at which every hidden state
is 1.

`solver` minimises this. `levels` chooses the ridge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from gti_cli.grounding.nll.head_loss import LOGITS_AT_ONCE, LogitRule
from gti_cli.grounding.regression.kept_states import StackedStates

_PLAIN = LogitRule()
# The largest slope that tanh' can have: max |d2/dx2 tanh(x)| = 4 / (3 sqrt(3)).
_STEEPEST = 4 / (3 * math.sqrt(3))


@dataclass(frozen=True)
class Regression:
    """A problem: which rows fit m positions best?

    Rows are (n, w): w = d, or d + 1 with the head's bias as their last coordinate.

    Attributes:
        states: (m, d) hidden states, in any number format; they may lie on another device, or in a mapped file.
        others: (m,) float64. Log-sum-exp of the logits of all tokens that are no unknowns.
        targets: (m,) int64. Number of the predicted token among the unknowns; -1 if it is none of them.
        target_logits: (m,) float64. Logit of a predicted token that is no unknown; 0 where it is one.
        start: (n, w) float64. The rows towards which the ridge pulls. Rows are computed on their device.
        rule: What the model does to its head's output.
        ridge: Weight of the squared distance from ``start``, with a shared shift as above.
        at_once: Number of logits to compute at a time (None: by device, see `LOGITS_AT_ONCE`).
        count: Number of positions of all processes together, each of which holds its own. All processes then call the
            same methods, and get the same results to the last bit (None: this process holds all positions).
    """

    states: torch.Tensor | StackedStates
    others: torch.Tensor
    targets: torch.Tensor
    target_logits: torch.Tensor
    start: torch.Tensor
    rule: LogitRule = _PLAIN
    ridge: float = 0.0
    at_once: int | None = None
    count: int | None = None

    def __len__(self) -> int:
        return len(self.targets) if self.count is None else self.count

    def with_ridge(self, ridge: float) -> Regression:
        """The same problem with another weight of the ridge."""
        return replace(self, ridge=ridge)

    def loss(self, rows: torch.Tensor) -> float:
        """Mean negative log-likelihood (nats) of rows (n, w), without the ridge."""
        total = torch.zeros((), dtype=torch.float64)
        for block in self._blocks(rows):
            total += block.losses().sum().cpu()
        return float(self._sum(total.to(self.start.device))) / len(self)

    def normalisers(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the softmax at rows (n, w), position by position of this process.

        Args:
            rows: (n, w) the unknowns' rows.

        Returns:
            (m,) float64: log-sum-exp of the logits of all tokens. (m,) float64: logit of the predicted token, as far as
            it is known: 0 where it is neither an unknown nor in ``target_logits``.
        """
        normalisers, logits = [self.others.new_zeros(0)], [self.others.new_zeros(0)]
        for block in self._blocks(rows):
            normalisers.append(block.normaliser.to(self.others.device))
            logits.append(block.target_logits().to(self.others.device))
        return torch.cat(normalisers), torch.cat(logits)

    def value_and_gradient(self, rows: torch.Tensor) -> tuple[float, torch.Tensor]:
        """The objective at rows (n, w), the ridge included, and its gradient (n, w) float64."""
        # The gradient, and the loss behind it: one exchange between processes for both.
        sums = self.start.new_zeros(self.start.numel() + 1)
        gradient = sums[:-1].view_as(self.start)
        for block in self._blocks(rows):
            sums[-1] += block.losses().sum()
            gradient += (block.logit_gradient().T @ block.states).double()
        self._sum(sums)
        moved = rows.double() - self.start
        pull = self.ridge * _without_shift(moved)
        value = float(sums[-1]) / len(self) + float((moved * pull).sum()) / 2
        return value, gradient / len(self) + pull

    def hessian_product(self, rows: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        """The Hessian at rows (n, w), applied to a direction (n, w); (n, w) float64."""
        product = torch.zeros_like(self.start)
        for block in self._blocks(rows):
            along = block.states @ direction.to(block.states.dtype).T  # (c, n): v_j . h_i
            slope, curvature = self.rule.slope(block.logits), self.rule.curvature(block.logits)
            change = along if slope is None else along * slope
            probabilities = block.probabilities()
            result = probabilities * (change - (probabilities * change).sum(1, keepdim=True))
            if slope is not None:
                result = result * slope
            if curvature is not None:
                result = result + block.minus_target(probabilities) * curvature * along
            product += (result.T @ block.states).double()
        return self._sum(product) / len(self) + self.ridge * _without_shift(direction.double())

    def second_moments(self) -> torch.Tensor:
        """Mean of h h' over the positions, (w, w) float64; of h with a 1 behind it where rows have a bias."""
        moments = self.start.new_zeros(self.start.shape[1], self.start.shape[1])
        for part in self._parts():
            states = self._read(part)
            moments += (states.T @ states).double()
        return self._sum(moments) / len(self)

    def shares(self) -> torch.Tensor:
        """Share (n,) float64 of the positions that predict each unknown."""
        counts = torch.bincount(self.targets[self.targets >= 0], minlength=len(self.start))
        return self._sum(counts.to(self.start)) / len(self)

    def ridge_for_convexity(self) -> float:
        """A weight of the ridge from which on the objective is convex for certain: 0 without a soft cap.

        The curvature of `cap * tanh(scale * z / cap)` is at most .77 scale^2 / cap, and |p - y| is at most 1. So no
        eigenvalue of the loss's Hessian is below minus that number times the largest eigenvalue of the second moments.
        The ridge adds at least ridge / (n + 1), which is its curvature along the shared shift.
        """
        if self.rule.cap is None:
            return 0.0
        largest = float(torch.linalg.eigvalsh(self.second_moments())[-1])
        return _STEEPEST * self.rule.scale**2 / self.rule.cap * largest * (len(self.start) + 1)

    def _sum(self, own: torch.Tensor) -> torch.Tensor:
        """Add a sum over this process's positions to those of the others, in place."""
        if self.count is not None:
            torch.distributed.all_reduce(own)
        return own

    def _parts(self) -> Iterator[slice]:
        limit = LOGITS_AT_ONCE.get(self.start.device.type, 2**23) if self.at_once is None else self.at_once
        chunk = max(limit // max(self.start.shape), 1)
        return (slice(first, first + chunk) for first in range(0, len(self.targets), chunk))

    def _read(self, part: slice) -> torch.Tensor:
        """Hidden states (c, w) of some positions, in the number format and on the device of the computation."""
        dtype = torch.float64 if self.states.dtype == torch.float64 else torch.float32
        states = self.states[part].to(self.start.device, dtype)
        missing = self.start.shape[1] - states.shape[1]  # the coordinate of a bias
        return functional.pad(states, (0, missing), value=1.0) if missing else states

    def _blocks(self, rows: torch.Tensor) -> Iterator[_Block]:
        device = self.start.device
        for part in self._parts():
            states = self._read(part)
            logits = self.rule(states @ rows.to(device, states.dtype).T)
            others, targets = self.others[part].to(device), self.targets[part].to(device)
            yield _Block(states, logits, others, targets, self.target_logits[part].to(device), self.rule)


def _without_shift(moved: torch.Tensor) -> torch.Tensor:
    """The moves m (n, w) of all rows without the shared shift s that makes |s|^2 + sum |m_j - s|^2 least."""
    return moved - moved.sum(0) / (len(moved) + 1)


class _Block:
    """Some positions of a problem, with the unknowns' logits there."""

    def __init__(
        self,
        states: torch.Tensor,
        logits: torch.Tensor,
        others: torch.Tensor,
        targets: torch.Tensor,
        target_logits: torch.Tensor,
        rule: LogitRule,
    ) -> None:
        """Compute the softmax's normaliser.

        Args:
            states: (c, w) hidden states.
            logits: (c, n) logits of the unknowns.
            others: (c,) float64. Log-sum-exp of all other tokens.
            targets: (c,) int64. Number of the predicted token, or -1.
            target_logits: (c,) float64. Its logit where it is no unknown.
            rule: What the model does to its head's output.
        """
        self.states, self.logits, self._rule = states, logits, rule
        self._here = (targets >= 0).nonzero().squeeze(1)  # positions that predict an unknown
        self._targets = targets[self._here]
        self._constant = target_logits
        # Exponentials take as long as a matrix product, so the probabilities are made of these.
        self._largest = logits.amax(1).double()
        self._exponentials = (logits - self._largest[:, None].to(logits.dtype)).exp_()
        self.normaliser = torch.logaddexp(others, self._largest + self._exponentials.sum(1).double().log())

    def target_logits(self) -> torch.Tensor:
        """Logit (c,) float64 of the token that each position predicts."""
        target_logits = self._constant.clone()
        target_logits[self._here] = self.logits[self._here, self._targets].double()
        return target_logits

    def losses(self) -> torch.Tensor:
        """Negative log-likelihood (c,) float64 of each position."""
        return self.normaliser - self.target_logits()

    def probabilities(self) -> torch.Tensor:
        """Probabilities (c, n) of the unknowns; with the other tokens' they would sum to 1."""
        factors = (self._largest - self.normaliser).exp()
        return self._exponentials * factors[:, None].to(self.logits.dtype)

    def minus_target(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Subtract 1 from probabilities (c, n) at the predicted tokens, in place."""
        probabilities[self._here, self._targets] -= 1
        return probabilities

    def logit_gradient(self) -> torch.Tensor:
        """Gradient (c, n) of the summed loss with respect to ``w_j . h_i``."""
        gradient = self.minus_target(self.probabilities())
        slope = self._rule.slope(self.logits)
        return gradient if slope is None else gradient * slope
