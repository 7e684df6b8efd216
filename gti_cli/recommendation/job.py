"""A fine-tuning run, checked and ready to start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gti_cli.recommendation.options import FinetuneOptions

if TYPE_CHECKING:
    import torch

    from gti_cli.recommendation.tasks import NextItem
    from gti_cli.tables import SemanticIDs
    from gti_cli.training.checkpoints import Checkpoint
    from gti_cli.vocabulary.tokens import NewTokens


@dataclass(frozen=True)
class Job:
    """What a run needs.

    Attributes:
        checkpoint: to start from. new_tokens: its list. catalogue: the semantic IDs. task: what to train on.
        options, seed: as given. sizes: codes of each level. device: to compute on.
        autocast: compute in bfloat16. why: this number format.
    """

    checkpoint: Checkpoint
    new_tokens: NewTokens
    catalogue: SemanticIDs
    task: NextItem
    options: FinetuneOptions
    seed: int
    sizes: list[int]
    device: torch.device
    autocast: bool
    why: str
