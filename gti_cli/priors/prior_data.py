"""What a prior is fitted to, and what comes out: shared by the modules that fit one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gti_cli.baselines.base import spread_sample
from gti_cli.baselines.run import hold_out_last
from gti_cli.baselines.sasrec_tuning import TARGETS
from gti_cli.priors.masses import Prior, TargetMasses, Targets
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.tables.histories import History


@dataclass(frozen=True)
class FittedPrior:
    """A prior, and its form for training.

    Attributes:
        prior: Gives the masses of items behind a history.
        of_targets: Gives those behind training targets, without what their own users tell.
        report: How it was fitted, for the manifest.
    """

    prior: Prior
    of_targets: TargetMasses
    report: dict[str, Any]


@dataclass(frozen=True)
class PriorData:
    """What a prior is fitted to.

    Attributes:
        train: Training items of each user, in time order.
        valid: Histories and targets of the validation part; none: each user's last training item is held out instead.
        row_of: Catalogue row of each item id.
        seed: Seed of everything random.
        device: Where a network trains.
        cache: Folder in which trained networks are kept, those of the baselines of `gti evaluate` among them.
        embeddings: ``embeddings.safetensors`` of the workspace, which ``content-knn`` reads.
    """

    train: Mapping[str, list[str]]
    valid: Sequence[History]
    row_of: Mapping[str, int]
    seed: int
    device: torch.device
    cache: Path
    embeddings: Path | None = None

    def tuning_split(self) -> tuple[Mapping[str, list[str]], Sequence[History]]:
        """The training items while settings are chosen, and the held-out targets that they are chosen by."""
        return (self.train, self.valid) if self.valid else hold_out_last(self.train)

    def held_out(self) -> tuple[list[Targets], list[int]]:
        """The held-out targets, some of them where there are many: each with its user's number, and its row."""
        entries = spread_sample(self.tuning_split()[1], TARGETS)
        users = UserLists.of(self.train).users.numbers_of([entry.user_id for entry in entries])
        targets = [self.row_of[entry.target] for entry in entries]
        parts = [
            Targets(
                [*(self.row_of[item] for item in entry.items), target],
                (len(entry.items),),
                user,
            )
            for entry, target, user in zip(entries, targets, users.tolist(), strict=True)
        ]
        return parts, targets
