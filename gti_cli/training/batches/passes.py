"""A step divided into passes through the model, so that only a part of its activations is in memory at a time.

The gradient of a step is a sum over its answers' tokens. Taken pass by pass, the sums are the same up to rounding.
`gti_cli.training.micro_batch` chooses how much a pass holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gti_cli.prompts.examples import IGNORED, Example
from gti_cli.training.batches.history_examples import HistoryExample

if TYPE_CHECKING:
    from gti_cli.training.batches.history_packing import HistoryLayout
    from gti_cli.training.batches.mixture import ExampleCollator, TrainingExample

T = TypeVar("T")


@dataclass(frozen=True)
class PassLimit:
    """How much goes through the model at once. An example that alone is larger makes a pass of its own.

    Attributes:
        tokens: Most tokens of a pass, padding included.
        targets: Most targets of a pass.
    """

    tokens: float = math.inf
    targets: float = math.inf


def collate_passes(collator: ExampleCollator, batch: Sequence[TrainingExample], limit: PassLimit) -> dict[str, Any]:
    """The tensors of a step, divided into passes.

    Args:
        collator: Makes the tensors of a pass.
        batch: The examples of the step, of either kind or of both.
        limit: How much a pass holds.

    Returns:
        What `ExampleCollator.collate` returns, where one pass holds the step. Otherwise ``passes``, a list of such
        dictionaries, and ``terms``, the number of answer tokens of the step (0-dim int64).
    """
    layout = collator.layout
    histories = [example for example in batch if isinstance(example, HistoryExample)]
    ordinary = [example for example in batch if isinstance(example, Example)]
    rows = layout.pack(histories, limit.tokens, limit.targets) if histories else []

    def row_width(row: Sequence[HistoryExample]) -> int:
        """Number of tokens of a row."""
        return _row_width(layout, row)

    row_groups = in_passes(rows, row_width, lambda row: sum(example.target_count for example in row), limit)
    groups = in_passes(ordinary, collator.token_count, lambda _: 1, limit)
    tokens = _padded(row_groups, row_width) + _padded(groups, collator.token_count)
    if len(row_groups) <= 1 and len(groups) <= 1 and tokens <= limit.tokens and _targets(batch) <= limit.targets:
        return collator.collate_rows(rows, ordinary)
    # Histories come last: data parallelism waits for the gradient of every parameter in the last pass, and the weights
    # of a behaviour prior get none from ordinary examples.
    passes: list[dict[str, Any]] = [
        *(collator.collate_rows([], group) for group in groups),
        *(collator.collate_rows(group, []) for group in row_groups),
    ]
    terms = sum((part["targets"] != IGNORED).sum() for part in passes)
    return {"passes": passes, "terms": terms}


def in_passes(
    parts: Sequence[T], width: Callable[[T], int], targets: Callable[[T], int], limit: PassLimit
) -> list[list[T]]:
    """Group what goes through the model together: parts of similar width, for those are padded to the widest.

    Args:
        parts: Rows, or examples.
        width: Tokens of a part.
        targets: Targets of a part.
        limit: How much a group holds, where it has more than one part.

    Returns:
        The groups, narrow parts first; one group in the given order, where it holds all.
    """
    groups: list[list[T]] = []
    count: float = 0
    for part in sorted(parts, key=width):
        own = targets(part)
        # The parts come in the order of their width, so the new one is the widest of its group.
        if groups and (len(groups[-1]) + 1) * width(part) <= limit.tokens and count + own <= limit.targets:
            groups[-1].append(part)
            count += own
        else:
            groups.append([part])
            count = own
    return [list(parts)] if len(groups) == 1 else groups


def _row_width(layout: HistoryLayout, row: Sequence[HistoryExample]) -> int:
    """Tokens of a row of history examples."""
    prefix = len(layout.template_prefix(row[0]))
    return prefix + sum(layout.token_count(example) - prefix for example in row)


def _padded(groups: Sequence[Sequence[T]], width: Callable[[T], int]) -> int:
    """Tokens of groups, padding included."""
    return sum(len(group) * max(map(width, group)) for group in groups)


def _targets(batch: Sequence[TrainingExample]) -> int:
    """Targets of a step."""
    return sum(example.target_count if isinstance(example, HistoryExample) else 1 for example in batch)
