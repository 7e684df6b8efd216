"""The options of fine-tuning and what else a run needs, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError

if TYPE_CHECKING:
    import torch

    from gti_cli.recommendation.tasks import NextItem
    from gti_cli.tables import SemanticIDs
    from gti_cli.training.checkpoints import Checkpoint
    from gti_cli.vocabulary.tokens import NewTokens

TARGETS = ("all", "last")


@dataclass(frozen=True)
class FinetuneOptions:
    """What decides the outcome of a fine-tuning run, beside its inputs and seed.

    Attributes:
        epochs: passes over the training targets (may be a fraction). max_steps: overrides it if given.
        batch_size: targets in a step, on each process.
        learning_rate: peak, after 3 % linear warm-up, linear decay to 0.
        rows_learning_rate: the same for the new rows (None: ``learning_rate``).
        lora: train low-rank adapters and the new rows, not the whole model.
        lora_r, lora_alpha, lora_dropout: of the adapters (the paper's: 8, 32, 0.05).
        history: most items before a target. targets: ``all`` prefixes of a history, or the ``last`` item only.
        valid_sample: validation targets used for the loss.
        validations: times to validate by NDCG@10 during training; the best weights are kept (0: never, the last are).
        patience: stop after as many validations without a better one.
        gradient_checkpointing: keep few activations and compute the others twice: less memory, a third slower.
    """

    epochs: float = 3.0
    max_steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 5e-4
    rows_learning_rate: float | None = None
    lora: bool = False
    lora_r: int = 8
    lora_alpha: float = 32
    lora_dropout: float = 0.05
    history: int = 20
    targets: str = "all"
    valid_sample: int = 2000
    validations: int = 0
    patience: int | None = None
    gradient_checkpointing: bool = False

    def check(self) -> None:
        """Raise `InputError` for a value that cannot be meant."""
        positive = {
            "--epochs": self.epochs,
            "--max-steps": self.max_steps,
            "--batch-size": self.batch_size,
            "--learning-rate": self.learning_rate,
            "--rows-learning-rate": self.rows_learning_rate,
            "--lora-r": self.lora_r,
            "--lora-alpha": self.lora_alpha,
            "--history": self.history,
            "--valid-sample": self.valid_sample,
            "--patience": self.patience,
        }
        for option, value in positive.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{option} is {value}", remedy="give a number above 0")
        if not 0 <= self.lora_dropout < 1:
            raise InputError(f"--lora-dropout is {self.lora_dropout}", remedy="give a share from 0 to below 1")
        if self.targets not in TARGETS:
            raise InputError(f"--targets is {self.targets!r}", remedy="use all (every prefix of a history) or last")

        if self.validations < 0:
            raise InputError(f"--validations is {self.validations}", remedy="give 0 or more")
        if self.patience is not None and not self.validations:
            raise InputError("--patience needs validations to be patient about", remedy="add --validations 10")

    def resolved(self) -> dict[str, Any]:
        """For the manifest: without what has no effect."""
        values = asdict(self)
        if not self.lora:
            for name in ("lora_r", "lora_alpha", "lora_dropout"):
                del values[name]
        if self.max_steps is not None:
            del values["epochs"]
        if self.rows_learning_rate is None:
            values["rows_learning_rate"] = self.learning_rate
        return values


@dataclass(frozen=True)
class Job:
    """A run, checked and ready to start.

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
