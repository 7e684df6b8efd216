"""The options of fine-tuning, checked before anything is loaded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option, refuse_without
from gti_cli.tables.equal_times import InteractionKeywords
from gti_cli.workspace import processes

TARGETS = ("all", "last")
NO_PRIOR = "none"
PRIOR_MEMBERS = ("item-knn", "sasrec", "content-knn")
PRIORS = (
    NO_PRIOR,
    *("+".join(some) for count in (1, 2, 3) for some in itertools.combinations(PRIOR_MEMBERS, count)),
)
MAX_WORDINGS = 3
MAX_UNVALIDATED_EPOCHS = 3  # longer runs are validated during training where the options do not say otherwise


@dataclass(frozen=True)
class TaskOptions:
    """What a run trains on.

    Attributes:
        tasks: Some of ``next-item``, ``search``, ``lc-rec``, each with or without a weight (``search:0.5``); see
            `gti_cli.recommendation.task_data.parse_tasks` and `gti_cli.training.batches.mixture.MixedPlan`.
        history: Most items before a target.
        targets: ``all``: every item of a history after the first is a target; ``last``: the last item alone.
        wordings: Number of wordings of the next-item prompt, from 1 to 3 (the paper's number). Evaluation uses the
            first one.
        max_text_tokens: Length at which texts of LC-Rec's tasks are cut, in tokens.
        valid_sample: Most validation targets of each task on which the loss is measured.
    """

    tasks: tuple[str, ...] | None = option(
        None,
        "Some of next-item, search, lc-rec (LC-Rec's auxiliary tasks), each with or without a weight: "
        "next-item:1,search:0.5. Without weights all targets count alike.",
        shown="next-item where there are interactions, search where there are queries",
    )
    history: int = option(20, "Most items shown before a target.")
    targets: str = option("all", "all: every item after the first; last: a user's last one.")
    wordings: int = option(3, "Wordings of the next-item prompt, 1 to 3; each user's prompts have one of them.")
    max_text_tokens: int = option(128, "Longer texts of lc-rec's tasks are cut.")
    valid_sample: int = option(2000, "Validation targets of each task that the loss is measured on.")


@dataclass(frozen=True)
class TrainingOptions:
    """How a run trains.

    Attributes:
        prior: ``none``, or one of `PRIORS`: what other users did, or what is like the last items, is added to the
            logits of the codes, see `gti_cli.decoding.prior_bias`. The model learns what this prior does not know.
        epochs: Passes over the training targets; may be a fraction.
        max_steps: Number of steps; overrides ``epochs`` where it is given.
        batch_size: Targets in a step, on all processes together.
        micro_batch: Most targets that go through the model at once on each process; the gradient of a step is summed
            over such passes. None: as many as a fixed amount of memory allows, see `gti_cli.training.micro_batch`.
        learning_rate: Peak, after a linear warm-up of 3 % of the steps and before a linear decay to 0.
        rows_learning_rate: The same for the new rows. None: a rate that fits the scale of the model's rows, see
            `gti_cli.training.rows_learning_rate.default_rows_rate`, and at least ``learning_rate``; with a sharded
            optimizer exactly ``learning_rate``.
        validations: Number of validations by NDCG@10 during training, of which the best weights are kept. 0: none,
            and the last weights are kept. None: see `gti_cli.recommendation.validation.default_validations`.
        rank_sample: Most users (or queries) ranked in a validation, out of those that the validation loss is measured
            on.
        patience: Number of validations without a better one after which training stops.
        gradient_checkpointing: Keep few activations and compute the others twice: less memory, a third slower.
        compile: Let torch compile the model's forward pass, see `gti_cli.training.compiled`.
        report_to: Experiment trackers by the Trainer's own names. They change no result.
    """

    prior: str = option(
        "none",
        "One or more of item-knn, sasrec (what other users did next) and content-knn (what is like the last items), "
        "with + between them: added to the logits of the codes, so that the model learns the rest. none: add nothing.",
    )
    epochs: float = option(3.0, "Passes over the training targets.")
    max_steps: int | None = option(None, "Steps; overrides --epochs.")
    batch_size: int = option(128, "Targets in a step, on all processes together.")
    micro_batch: int | None = option(
        None,
        "Most targets that go through the model at once; fewer take less memory and train the same.",
        shown="as many as the memory for activations allows; the manifest says how many tokens",
    )
    learning_rate: float = option(5e-4, "Peak learning rate.")
    rows_learning_rate: float | None = option(
        None, "Peak learning rate of the new rows.", shown="5 % of the distance between pretrained rows in a step"
    )
    validations: int | None = option(
        None,
        "Validations by NDCG@10 during training; the best weights are kept. 0: none; the last weights are kept.",
        shown="once in each epoch of a run of more than three, else 0",
    )
    rank_sample: int = option(500, "Most users or queries ranked in a validation, out of --valid-sample.")
    patience: int | None = option(None, "Stop after as many validations without a better one.")
    gradient_checkpointing: bool = option(False, "Less memory, a third slower.")
    compile: bool = option(False, "Compile the model's forward pass (minutes, before the first step).")
    report_to: tuple[str, ...] = option(
        (), "Experiment trackers: tensorboard, wandb, mlflow, ... as transformers' Trainer knows them.", shown="none"
    )

    @property
    def targets_per_process(self) -> int:
        """Targets in a step on each process."""
        return self.batch_size // processes.world()


@dataclass(frozen=True)
class LoRAOptions:
    """Adapters (Hu et al., arXiv 2106.09685); rank, scale and dropout are those of the GTI paper.

    Attributes:
        lora: Train low-rank adapters and the new rows, not the whole model.
        lora_r: Rank of the adapters.
        lora_alpha: Scale of the adapters.
        lora_dropout: Dropout of the adapters.
    """

    lora: bool = option(False, "Train adapters and the new rows; pretrained rows stay as they are.")
    lora_r: int = option(8, "Rank.")
    lora_alpha: float = option(32.0, "Scale.")
    lora_dropout: float = option(0.05, "Dropout.")


@dataclass(frozen=True)
class FinetuneOptions(TaskOptions, TrainingOptions, LoRAOptions):
    """All options that decide the result of a fine-tuning run, besides its inputs and seed."""

    def __post_init__(self) -> None:
        # The members of a prior have one order, so that one prior has one name; they may be given in any.
        members = set(self.prior.split("+"))
        if "+" in self.prior and members <= set(PRIOR_MEMBERS) and len(members) == self.prior.count("+") + 1:
            object.__setattr__(self, "prior", "+".join(name for name in PRIOR_MEMBERS if name in members))

    def check(self) -> None:
        """Check the values.

        Raises:
            InputError: When a value is out of range, or options contradict each other.
        """
        numbers = "epochs max_steps batch_size micro_batch learning_rate rows_learning_rate lora_r lora_alpha history"
        for name in (*numbers.split(), "valid_sample", "rank_sample", "patience", "max_text_tokens"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"--{name.replace('_', '-')} is {value}", remedy="give a number above 0")
        if not 0 <= self.lora_dropout < 1:
            raise InputError(f"--lora-dropout is {self.lora_dropout}", remedy="give a share from 0 to below 1")
        if not 1 <= self.wordings <= MAX_WORDINGS:
            raise InputError(f"--wordings is {self.wordings}", remedy=f"give 1 to {MAX_WORDINGS}")
        if self.targets not in TARGETS:
            raise InputError(f"--targets is {self.targets!r}", remedy="use all (every prefix of a history) or last")
        if self.prior not in PRIORS:
            known = ", ".join(PRIOR_MEMBERS)
            raise InputError(
                f"--prior is {self.prior!r}",
                remedy=f"use none, or one or more of {known}, with + between them",
            )
        if self.validations is not None and self.validations < 0:
            raise InputError(f"--validations is {self.validations}", remedy="give 0 or more")
        by_default = self.validations is None and self.max_steps is None and self.epochs > MAX_UNVALIDATED_EPOCHS
        if self.patience is not None and not (self.validations or by_default):
            raise InputError("--patience has no effect without validations", remedy="add --validations 10")
        refuse_without(self, "lora", ("lora_r", "lora_alpha", "lora_dropout"))
        if self.batch_size % processes.world():
            raise InputError(
                f"--batch-size {self.batch_size} cannot be divided among {processes.world()} processes",
                remedy=f"use a multiple of {processes.world()}",
            )

    def resolved(self, tasks: Mapping[str, float | None]) -> dict[str, Any]:
        """The options as the manifest records them: without those that have no effect.

        Args:
            tasks: Weight of each task, see `gti_cli.recommendation.task_data.parse_tasks`.
        """
        values = asdict(self)
        del values["report_to"]
        values["tasks"] = [name if weight is None else f"{name}:{weight:g}" for name, weight in tasks.items()]
        if "lc-rec" not in tasks:
            del values["max_text_tokens"]
        if "next-item" not in tasks:
            del values["wordings"], values["targets"]
        if self.prior == "none":
            del values["prior"]  # as manifests of versions without priors have it
        if not self.lora:
            for name in ("lora_r", "lora_alpha", "lora_dropout"):
                del values[name]
        if self.max_steps is not None:
            del values["epochs"]
        if self.micro_batch is None:
            del values["micro_batch"]  # as manifests of versions without it have it; how a step was divided is in `run`
        if self.validations is None:
            short = self.max_steps is None and self.epochs <= MAX_UNVALIDATED_EPOCHS
            values["validations"] = 0 if short else "auto"
        if not values["validations"]:
            del values["rank_sample"]
        if self.rows_learning_rate is None:
            values["rows_learning_rate"] = "auto"  # the metrics record the rate that was used
        return values


class FinetuneKeywords(InteractionKeywords, RunKeywords, total=False):
    """`FinetuneOptions`, `InteractionOptions` and `gti_cli.options.RunOptions` as keywords."""

    tasks: Sequence[str] | None
    history: int
    targets: str
    wordings: int
    max_text_tokens: int
    valid_sample: int
    prior: str
    epochs: float
    max_steps: int | None
    batch_size: int
    micro_batch: int | None
    learning_rate: float
    rows_learning_rate: float | None
    validations: int | None
    rank_sample: int
    patience: int | None
    gradient_checkpointing: bool
    compile: bool
    report_to: Sequence[str]
    lora: bool
    lora_r: int
    lora_alpha: float
    lora_dropout: float
