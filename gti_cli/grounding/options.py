"""The options of grounding, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option

NLL, DISTIL = "nll", "distil"  # objectives
_OF_DISTIL = ("distil_layer", "distil_nll_weight", "distil_snippets")
_OF_NLL = ("directions", "retrieval_sample")
_POSITIVE = (
    "epochs", "max_steps", "batch_size", "learning_rate", "max_text_tokens", "held_out_sample", "eval_every",
    "patience", "lora_r", "lora_alpha", "lora_learning_rate", "unfreeze_learning_rate",
)  # fmt: skip
BOTH_WAYS, TO_TOKENS_ONLY, TO_TEXT_ONLY = "both", "to-tokens", "to-text"  # directions


@dataclass(frozen=True)
class PairsOptions:
    """What is trained on, and what is held out.

    Attributes:
        directions: ``both``, ``to-tokens`` (text -> tokens) or ``to-text`` (tokens -> text). None: `choose_directions`.
        held_out: share of the pairs that is not trained on. retrieval_sample: how many of them, in the direction text
            -> tokens, are searched for among all items before and after. max_text_tokens: longer texts are cut.
        held_out_sample: most held-out examples of each direction on which losses and accuracies are measured.
    """

    directions: str | None = option(
        None,
        "both, to-tokens (text -> tokens) or to-text (tokens -> text).",
        shown="to-tokens for semantic IDs, both for other words",
    )
    held_out: float = option(0.05, "Share of the pairs that is not trained on.")
    retrieval_sample: int = option(500, "How many held-out texts to find among all items (0: none).")
    max_text_tokens: int = option(128, "Longer titles and descriptions are cut (and counted).")
    held_out_sample: int = option(2000, "Most held-out examples of a direction that are evaluated.")


@dataclass(frozen=True)
class RowsOptions:
    """How the new rows are trained.

    Attributes:
        epochs: passes over the training pairs (may be a fraction). max_steps: overrides it if given.
        batch_size: examples in a step, over all processes together.
        learning_rate: peak, after 3 % linear warm-up, linear decay to 0 (None:
            `gti_cli.training.reach.natural_rate`).
        eval_every: steps from one evaluation to the next (None: see `stopping.evaluation_steps`).
        patience: stop after as many evaluations without a lower held-out loss, and keep the best rows (None: train
            to the end and keep the last rows).
        gradient_checkpointing: keep few activations and compute the others twice: less memory, a third slower.
        report_to: experiment trackers by the Trainer's own names; they change no result.
    """

    epochs: float = option(1.0, "Passes over the pairs.")
    max_steps: int | None = option(None, "Steps; overrides --epochs.")
    batch_size: int = option(16, "Examples in a step, over all processes.")
    learning_rate: float | None = option(
        None, "Peak learning rate.", shown="5 % of the distance between pretrained rows a step"
    )
    eval_every: int | None = option(None, "Steps between evaluations.", shown="about ten in a run")
    patience: int | None = option(
        None, "Stop after so many evaluations without a lower held-out loss; keep the best.", shown="train to the end"
    )
    gradient_checkpointing: bool = option(False, "Less memory, a third slower; the same result.")
    report_to: tuple[str, ...] = option(
        (), "Experiment trackers: tensorboard, wandb, mlflow, ... as transformers' Trainer knows them.", shown="none"
    )


@dataclass(frozen=True)
class FurtherOptions:
    """What else trains.

    Attributes:
        lora: train low-rank adapters of the frozen model beside the new rows. lora_r, lora_alpha, lora_dropout: of
            them (the paper's for fine-tuning: 8, 32, 0.05). lora_learning_rate: their peak; the rows keep theirs.
        unfreeze_steps: then so many steps with every weight trained (the paper's second phase; 0: none).
        unfreeze_learning_rate: peak of these.
    """

    lora: bool = option(False, "Train adapters of the frozen model beside the new rows; merged at the end.")
    lora_r: int = option(8, "Rank of the adapters.")
    lora_alpha: float = option(32.0, "Scale of the adapters.")
    lora_dropout: float = option(0.05, "Dropout of the adapters.")
    lora_learning_rate: float = option(2e-4, "Peak learning rate of the adapters.")
    unfreeze_steps: int = option(0, "Then so many steps with every weight trained (0: none).")
    unfreeze_learning_rate: float = option(1e-4, "Peak learning rate of these steps.")


@dataclass(frozen=True)
class ObjectiveOptions:
    """What is made small.

    Attributes:
        objective: ``nll`` (the paper's: pairs in both directions), or ``distil`` (`grounding.distil`). Of the latter:
            distil_layer: whose hidden states are compared, from 1 (None: the last). distil_nll_weight: of the negative
            log-likelihood beside them. distil_snippets: contexts that the model writes itself, for each phrase.
    """

    objective: str = option(
        NLL, "nll (pairs in both directions), or distil: hidden states behind a token as behind its phrase."
    )
    distil_layer: int | None = option(None, "Layer whose hidden states are compared.", shown="the last")
    distil_nll_weight: float = option(0.0, "Weight of the log-likelihood beside the hidden states.")
    distil_snippets: int = option(0, "Contexts for each phrase that the model writes itself.")


@dataclass(frozen=True)
class GroundOptions(PairsOptions, RowsOptions, FurtherOptions, ObjectiveOptions):
    """What decides the outcome of a grounding run, beside its inputs and seed."""

    def check(self) -> None:
        """Raise `InputError` for a value that cannot be meant."""
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"--{name.replace('_', '-')} is {value}", remedy="give a number above 0")
        if self.retrieval_sample < 0:
            raise InputError(f"--retrieval-sample is {self.retrieval_sample}", remedy="give 0 (none) or more")
        if self.unfreeze_steps < 0:
            raise InputError(f"--unfreeze-steps is {self.unfreeze_steps}", remedy="give 0 (none) or more")
        if not 0 <= self.lora_dropout < 1:
            raise InputError(f"--lora-dropout is {self.lora_dropout}", remedy="give a share from 0 to below 1")
        if not 0 <= self.held_out < 1:
            raise InputError(f"--held-out is {self.held_out}", remedy="give a share from 0 to below 1")
        if self.patience is not None and not self.held_out:
            raise InputError("--patience watches the loss on held-out pairs", remedy="give a --held-out above 0")
        known = (BOTH_WAYS, TO_TOKENS_ONLY, TO_TEXT_ONLY)
        if self.directions not in (None, *known):
            raise InputError(f"--directions is {self.directions!r}", remedy=f"use one of {', '.join(known)}")
        self._check_objective()

    def _check_objective(self) -> None:
        if self.objective not in (NLL, DISTIL):
            raise InputError(f"--objective is {self.objective!r}", remedy=f"use {NLL} or {DISTIL}")
        if self.objective == NLL:
            for name in _OF_DISTIL:
                if getattr(self, name) != getattr(GroundOptions, name):
                    raise InputError(f"--{name.replace('_', '-')} goes with --objective {DISTIL}")
            return
        for name in ("directions", "lora", "unfreeze_steps"):
            if getattr(self, name) != getattr(GroundOptions, name):
                raise InputError(f"--{name.replace('_', '-')} goes with --objective {NLL}", remedy="leave it out")
        if not (math.isfinite(self.distil_nll_weight) and self.distil_nll_weight >= 0):
            raise InputError(f"--distil-nll-weight is {self.distil_nll_weight}", remedy="give 0 (none) or more")
        if self.distil_snippets < 0:
            raise InputError(f"--distil-snippets is {self.distil_snippets}", remedy="give 0 (none) or more")

    def choose_directions(self, semantic_ids: bool) -> GroundOptions:
        """With directions: as given, or by what the tokens are.

        For semantic IDs text -> tokens alone: it brought as much accuracy as both ways in half of the time, and more in
        the same (tests/benchmarks/study). Of other words one also wants that the model can say what they mean.
        """
        default = TO_TOKENS_ONLY if semantic_ids else BOTH_WAYS
        return replace(self, directions=self.directions or default)

    def resolved(self) -> dict[str, Any]:
        """For the manifest: without what has no effect."""
        values = asdict(self)
        del values["report_to"]
        if self.learning_rate is None:
            values["learning_rate"] = "auto"  # what it came to is among the metrics
        if self.max_steps is not None:
            del values["epochs"]
        if not self.lora:
            for name in ("lora_r", "lora_alpha", "lora_dropout", "lora_learning_rate"):
                del values[name]
        if not self.unfreeze_steps:
            del values["unfreeze_steps"], values["unfreeze_learning_rate"]
        for name in _OF_DISTIL if self.objective == NLL else _OF_NLL:
            del values[name]
        return values


class GroundKeywords(RunKeywords, total=False):
    """`GroundOptions` and `gti_cli.options.RunOptions` as keywords."""

    directions: str | None
    held_out: float
    retrieval_sample: int
    max_text_tokens: int
    held_out_sample: int
    epochs: float
    max_steps: int | None
    batch_size: int
    learning_rate: float | None
    eval_every: int | None
    patience: int | None
    gradient_checkpointing: bool
    report_to: Sequence[str]
    lora: bool
    lora_r: int
    lora_alpha: float
    lora_dropout: float
    lora_learning_rate: float
    unfreeze_steps: int
    unfreeze_learning_rate: float
    objective: str
    distil_layer: int | None
    distil_nll_weight: float
    distil_snippets: int
