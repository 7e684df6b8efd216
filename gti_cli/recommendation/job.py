"""A fine-tuning run, checked and ready to start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.recommendation.options import FinetuneOptions

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from gti_cli.checkpoints.finding import Checkpoint
    from gti_cli.checkpoints.new_tokens import NewTokens
    from gti_cli.recommendation.material import Material
    from gti_cli.recommendation.tasks import Task


@dataclass(frozen=True)
class Job:
    """What a run needs.

    Attributes:
        checkpoint: to start from. tokenizer, new_tokens: its own. material: what the tasks are made from.
        tasks: what to train on, the main one first.
        options, seed: as given. sizes: codes of each level. device: to compute on.
        autocast: compute in bfloat16. why: this number format.
        name: of the output. report_to: experiment trackers. logs: folder for those that write files.
    """

    checkpoint: Checkpoint
    tokenizer: PreTrainedTokenizerBase
    new_tokens: NewTokens
    material: Material
    tasks: list[Task]
    options: FinetuneOptions
    seed: int
    sizes: list[int]
    device: torch.device
    autocast: bool
    why: str
    name: str = ""
    report_to: Sequence[str] = ()
    logs: Path = Path()
