"""The interactions that a blend is fitted to, and the validation targets by which it is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.baselines.base import spread_sample
from gti_cli.baselines.run import ITEM_KNN, SASREC
from gti_cli.blending.options import ALL, BALANCED, FEWEST_TARGETS, BlendOptions
from gti_cli.errors import InputError
from gti_cli.tables.arrays.targets import with_targets
from gti_cli.tables.cold_start.cold_splits import describe_taken_out, split_by_items
from gti_cli.tables.cold_start.held_out_items import HeldOutItems
from gti_cli.tables.histories import History, Interactions, Splits, split

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FittingData:
    """Interactions for the fit.

    Attributes:
        splits: Training, validation and test items; without those of held-out items in training and validation.
        entries: The validation targets that are used, with their histories.
        cold_valid: See `gti_cli.baselines.run.Setting`.
        held_out: The split by items of the members; None: there is none.
        counts: Counts of the table, for the manifest.
    """

    splits: Splits
    entries: Sequence[History]
    cold_valid: Sequence[History] = ()
    held_out: HeldOutItems | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def hidden(self) -> frozenset[str]:
        """Items that no member has learned about."""
        return self.held_out.all if self.held_out is not None else frozenset()

    def allowed(self, row_of: Mapping[str, int]) -> Mask | None:
        """(N,) items that may be candidates: those held out for the test do not exist yet. None: all may."""
        if self.held_out is None:
            return None
        allowed = np.ones(len(row_of), dtype=bool)
        allowed[[row_of[item] for item in self.held_out.test if item in row_of]] = False
        return allowed


def choose_targets(
    interactions: Interactions, held: HeldOutItems | None, options: BlendOptions, table: Path | str
) -> FittingData:
    """Take the validation targets.

    Where members have a split by items, no interaction with a held-out item trains a baseline. Among the validation
    targets are those with items that are held out for validation: from them a blend learns what to do with an item that
    has no interactions. Items that are held out for the test are in no target, no history and no list.

    Args:
        interactions: The table.
        held: The split of the members; None: there is none.
        options: Which targets, and how many.
        table: The table, for error lines.

    Raises:
        InputError: When there are too few targets.
    """
    if held is None:
        splits = split(interactions)
        return FittingData(splits, _drawn(splits.valid, options, table), counts=splits.counts)
    divided = split_by_items(interactions, held)
    console.note(describe_taken_out(divided.counts))
    if not divided.cold_valid:
        console.warn("no validation target is a held-out item: the blend cannot learn how to treat new items")
    chosen = divided.valid if options.targets == ALL else divided.cold_valid
    if options.targets == BALANCED:
        others = with_targets(divided.valid, held.valid, among=False)
        chosen = [*chosen, *spread_sample(others, len(chosen))]
    counts = {**divided.known.counts, **divided.counts, "valid_targets": len(chosen)}
    return FittingData(divided.known, _drawn(chosen, options, table), divided.cold_valid, held, counts)


def check_tuning(baselines: Sequence[str], data: FittingData) -> None:
    """Refuse or mention baselines that have no validation targets to be tuned on: all of these are held-out items.

    Args:
        baselines: Names of the members that are baselines.
        data: The interactions.

    Raises:
        InputError: When one of them cannot be trained without.
    """
    if data.splits.valid:
        return
    if SASREC in baselines:
        raise InputError(
            "no validation target is an item that sasrec may learn, and its training ends by such targets",
            remedy="leave sasrec out of --of, or hold out fewer items",
        )
    if ITEM_KNN in baselines:
        console.warn("item-knn is not tuned: no validation target is an item that it may learn")


def _drawn(targets: Sequence[History], options: BlendOptions, table: Path | str) -> Sequence[History]:
    """At most ``--sample`` of the targets."""
    if len(targets) < FEWEST_TARGETS:
        new = options.targets != ALL
        raise InputError(
            f"{len(targets)} validation targets{' with held-out items' if new else ''}, and the weights of a blend are "
            "chosen by them",
            where=str(table),
            remedy="use --targets all, or hold out more items"
            if new
            else "give users with at least three interactions, or a column 'split' with more rows 'valid'",
        )
    return spread_sample(targets, options.sample)
