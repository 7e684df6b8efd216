"""Small softmax regressions over the new rows of a model's head, and the plain loss that they must equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression.kept_states import StateStore
from gti_cli.grounding.regression.levels import PathOptions, fit_levels
from gti_cli.grounding.regression.objective import Regression
from gti_cli.grounding.regression.positions import Positions
from gti_cli.grounding.regression.saved_levels import Progress, SavedLevels
from gti_cli.grounding.regression.sources import Source
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import Example
from tests.support import grounding

OLD_ROWS, NEW_ROWS, WIDTH = 30, 5, 8
RULES = [LogitRule(), LogitRule(0.25), LogitRule(1.0, 5.0), LogitRule(2.0, 3.0)]


def head_of(seed: int, biased: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A random head in float64: matrix (35, 8) whose last five rows are new, and its bias or None."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(OLD_ROWS + NEW_ROWS, WIDTH, generator=generator, dtype=torch.float64)
    bias = torch.randn(len(weight), generator=generator, dtype=torch.float64) if biased else None
    return weight, bias


def states_of(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random hidden states (count, 8) float64 with a common mean, and the token that each predicts."""
    generator = torch.Generator().manual_seed(seed + 1)
    states = torch.randn(count, WIDTH, generator=generator, dtype=torch.float64) + 0.5
    targets = torch.randint(OLD_ROWS - 5, OLD_ROWS + NEW_ROWS, (count,), generator=generator)
    return states, targets


def plain_loss(
    states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, rule: LogitRule
) -> torch.Tensor:
    """Mean cross entropy of a softmax over the whole vocabulary, all logits at once."""
    logits = functional.linear(states, weight, bias) * rule.scale
    if rule.cap is not None:
        logits = torch.tanh(logits / rule.cap) * rule.cap
    return functional.cross_entropy(logits, targets)


def plain_ridge(moved: torch.Tensor) -> torch.Tensor:
    """Least |s|^2 + sum |m_j - s|^2 over a shift s (w,) shared by all moves (n, w), by least squares."""
    ones = moved.new_ones(len(moved) + 1, 1)
    stacked = torch.cat([moved, moved.new_zeros(1, moved.shape[1])])
    shift = torch.linalg.lstsq(ones, stacked).solution
    return ((stacked - ones @ shift) ** 2).sum()


def positions_of(seed: int, count: int, biased: bool, rule: LogitRule) -> Positions:
    """The positions of `states_of` behind the head `head_of`, with the old tokens summed up by hand."""
    weight, bias = head_of(seed, biased)
    states, targets = states_of(seed, count)
    logits = rule(functional.linear(states, weight, bias))
    is_old = targets < OLD_ROWS
    old_targets = torch.where(is_old, logits.gather(1, targets[:, None]).squeeze(1), 0.0)
    return Positions(
        states, logits[:, :OLD_ROWS].logsumexp(1), torch.where(is_old, -1, targets - OLD_ROWS), old_targets
    )


def rows_of(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The new rows of a head, with the bias as their last coordinate where there is one."""
    rows = weight[OLD_ROWS:]
    return rows if bias is None else torch.cat([rows, bias[OLD_ROWS:, None]], dim=1)


def regression_of(seed: int, count: int, biased: bool, rule: LogitRule, **more: Any) -> Regression:
    """All five new rows as unknowns."""
    positions = positions_of(seed, count, biased, rule)
    start = rows_of(*head_of(seed, biased))
    return Regression(
        positions.states, positions.old, positions.targets, positions.old_target_logits, start, rule, **more
    )


def to_tokens(count: int, seed: int = 0) -> tuple[list[Example], list[int]]:
    """Random texts with codes of three levels, four codes each, and the end of the turn: (examples, templates)."""
    rng = np.random.default_rng(seed)
    examples, templates = [], []
    for _ in range(count):
        template = int(rng.integers(2))
        text = rng.integers(14, grounding.OLD, rng.integers(1, 6)).tolist()
        codes = [grounding.OLD + 4 * level + int(rng.integers(4)) for level in range(3)]
        examples.append(Example([*grounding.PREFIXES[template], *text, 3, 4], [*codes, 2]))
        templates.append(template)
    return examples, templates


def fit_all_levels(
    model: Any,
    train: list[Example],
    held_out: list[Example] | None,
    strengths: Any = (1.0, 0.0),
    tolerance: float = 2e-5,
    saved: SavedLevels | None = None,
    folder: Path | None = None,
    **more: bool,
) -> Progress:
    """Fit all levels; no example is divided, for those of the first place alone cannot be. ``more``: ``resuming``."""
    rows = NewRows(model, grounding.NEW_IDS)
    with rows.attached():
        sources: list[Source | None] = []
        for examples, where in ((train, folder), (held_out, None)):
            if examples is None:
                sources.append(None)
                continue
            zeros = [0] * len(examples)
            corpus = divide_examples(examples, zeros, zeros, set(grounding.NEW_IDS.tolist()), whole=True)
            trained = GroundingModel(model, rows, corpus.prefixes)
            store = StateStore(where, torch.device("cpu"))
            sources.append(Source("pairs", trained, corpus, range(len(examples)), grounding.PAD, store))
        first, second = sources
        assert first is not None and first.model.rule is not None
        return fit_levels(first, second, first.model.rule, PathOptions(strengths, tolerance), saved, **more)
