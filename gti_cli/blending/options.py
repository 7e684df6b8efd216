"""The options of blending, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option
from gti_cli.tables.equal_times import InteractionKeywords

BASELINES = ("popularity", "item-knn", "content-knn", "sasrec")
ALL, BALANCED, NEW = TARGETS = ("all", "balanced", "new")
FEWEST_TARGETS = 2  # one for each fold of the cross-fitting


@dataclass(frozen=True)
class BlendOptions:
    """Options of `gti blend`, as fields with defaults and help lines.

    Attributes:
        sample: Most validation targets by which form and weights are chosen, evenly spread over all.
        list_length: Items of each member's list; a language model searches with as many beams. The candidates of a user
            are the union of the lists.
        filter_seen: Do not recommend items of the user's own history.
        batch_size: Prompts in a batch. It changes speed, not results.
        targets: Which validation targets choose. ``all``; ``new``: those alone that no member has learned about, where
            there is a split by items (`gti finetune --hold-out-items`); ``balanced``: these and as many others.
    """

    sample: int = option(4000, "Validation targets by which form and weights are chosen, evenly spread over all.")
    list_length: int = option(100, "Items of each member's list, and beams of a language model.")
    filter_seen: bool = option(False, "Do not recommend items of the user's own history.")
    batch_size: int = option(32, "Prompts in a batch; changes speed, not results.")
    targets: str = option(
        "all",
        "Validation targets that choose: all; new: with items that finetune --hold-out-items hid; balanced: these and "
        "as many others.",
    )

    def check(self) -> None:
        """Check all values.

        Raises:
            InputError: When a value is out of range.
        """
        if self.targets not in TARGETS:
            raise InputError(f"--targets {self.targets!r} is not known", remedy=f"use {' or '.join(TARGETS)}")
        lowest = {"sample": FEWEST_TARGETS, "list_length": 1, "batch_size": 1}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                flag = "--" + name.replace("_", "-")
                raise InputError(f"{flag} {getattr(self, name)} is too small", remedy=f"use {least} or more")


class BlendKeywords(InteractionKeywords, RunKeywords, total=False):
    """`BlendOptions`, `InteractionOptions` and `RunOptions` as keywords."""

    sample: int
    list_length: int
    filter_seen: bool
    batch_size: int
    targets: str
