"""A user's history cut into training examples with several targets each.

A *history example* is a run of a user's items, oldest first, whose last items are targets: each target is to be
predicted from the items before it. `gti_cli.training.batches.history_packing` turns history examples into token ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class HistoryExample:
    """A run of a user's items in time order, the last of which are targets.

    Attributes:
        items: Rows of the catalogue.
        first_target: Place of the first target, at least 1. All items from there on are targets.
        wording: Number of the prompt's wording among those of the `HistoryLayout`.
        user: Number of the user among those of the training part; -1: the items are not of that part.
    """

    items: tuple[int, ...]
    first_target: int
    wording: int = 0
    user: int = field(default=-1, compare=False)

    @property
    def target_count(self) -> int:
        """Number of targets."""
        return len(self.items) - self.first_target


def history_examples(
    items: Sequence[int], max_history: int, *, last_only: bool = False, wording: int = 0, user: int = -1
) -> list[HistoryExample]:
    """Cut a user's items into history examples with at most ``max_history`` items before any target.

    Every item but the first is a target exactly once. A target with more than ``max_history`` items before it is shown
    the most recent ones. How many depends on its place in the example, since the targets of an example share their
    history: between half of ``max_history`` and all of it.

    Args:
        items: Rows of the catalogue, oldest first.
        max_history: Most items shown before a target.
        last_only: Make the last item the only target, with exactly ``max_history`` items before it where there are
            as many.
        wording: Number of the prompt's wording.
        user: Number of the user, see `HistoryExample`.

    Returns:
        The examples. None for fewer than two items.
    """
    length = len(items)
    if length < 2:
        return []
    if last_only:
        start = max(length - 1 - max_history, 0)
        return [HistoryExample(tuple(items[start:]), length - 1 - start, wording, user)]
    examples = [HistoryExample(tuple(items[: max_history + 1]), 1, wording, user)]
    place = max_history + 1
    while place < length:
        # Starting half a history before its first target leaves the other half for further targets.
        start = place - (max_history + 1) // 2
        stop = min(start + max_history + 1, length)
        examples.append(HistoryExample(tuple(items[start:stop]), place - start, wording, user))
        place = stop
    return examples


def single_target_examples(example: HistoryExample) -> list[HistoryExample]:
    """The targets of an example as one example each, with the same history before them."""
    places = range(example.first_target, len(example.items))
    return [HistoryExample(example.items[: place + 1], place, example.wording, example.user) for place in places]
