"""The options of grounding, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option, refuse_without

NLL, DISTIL = "nll", "distil"  # objectives
GRADIENT, REGRESSION = "gradient", "regression"  # solvers
# Gradient steps after a regression, and their rate as a share of the usual one: the usual rate undoes the regression,
# and even at this one held-out pairs did not gain (tests/benchmarks/study).
STEPS_AFTER_REGRESSION, RATE_AFTER_REGRESSION = 0, 0.125
# Options that have an effect with one objective only; the manifest omits them with the other.
_OF_DISTIL = ("distil_layer", "distil_nll_weight", "distil_snippets")
_OF_NLL = ("directions", "retrieval_sample")
# Options that must be above 0 where they are given.
_POSITIVE = (
    "epochs", "max_steps", "batch_size", "learning_rate", "max_text_tokens", "held_out_sample", "eval_every",
    "patience", "lora_r", "lora_alpha", "lora_learning_rate", "unfreeze_learning_rate",
)  # fmt: skip
BOTH_WAYS, TO_TOKENS_ONLY, TO_TEXT_ONLY = "both", "to-tokens", "to-text"  # directions


@dataclass(frozen=True)
class PairsOptions:
    """Which pairs train, and which are held out.

    Attributes:
        directions: ``both``, ``to-tokens`` (text -> tokens) or ``to-text`` (tokens -> text). None: `choose_directions`.
        held_out: Share of the pairs to hold out.
        retrieval_sample: Number of held-out texts whose items are searched for among all items, before and after.
        max_text_tokens: Longer texts are cut.
        held_out_sample: Most held-out examples of each direction on which losses and accuracies are measured.
    """

    directions: str | None = option(
        None,
        "both, to-tokens (text -> tokens) or to-text (tokens -> text).",
        shown="to-tokens for semantic IDs, both for other words",
    )
    held_out: float = option(0.05, "Share of the pairs to hold out: they are measured, not trained on.")
    retrieval_sample: int = option(500, "Held-out texts whose items are searched for among all items (0: none).")
    max_text_tokens: int = option(128, "Titles and descriptions with more tokens are cut.")
    held_out_sample: int = option(2000, "Most held-out examples evaluated in each direction.")


@dataclass(frozen=True)
class RowsOptions:
    """How the new rows are trained.

    Attributes:
        solver: ``gradient`` (steps of AdamW), or ``regression``: the rows are solved for (`grounding.regression`), then
            train by as many gradient steps as are asked for.
        epochs: Passes over the training pairs; may be a fraction (None: one; after a regression, see ``max_steps``).
        max_steps: Number of steps; overrides ``epochs`` (None: by ``epochs``; if that is None, too, a regression is
            followed by `STEPS_AFTER_REGRESSION`). 0 after a regression: none.
        batch_size: Examples in a step, over all processes together.
        learning_rate: Peak, after a linear warm-up over 3 % of the steps; then linear decay to 0. None:
            `gti_cli.training.rows_learning_rate.default_rows_rate`; after a regression, `RATE_AFTER_REGRESSION` of it.
        eval_every: Steps between evaluations (None: see `evaluations.evaluation_steps`).
        patience: Stop after this number of evaluations without a lower held-out loss, and keep the best rows (None:
            train to the end and keep the last rows).
        gradient_checkpointing: Store few activations and compute the others twice: less memory, a third slower.
        report_to: Experiment trackers by the Trainer's own names; they change no result.
    """

    solver: str = option(GRADIENT, "gradient (steps), or regression (solves for the rows; text -> tokens only).")
    epochs: float | None = option(None, "Passes over the pairs.", shown="1; after a regression, none")
    max_steps: int | None = option(None, "Steps; overrides --epochs.")
    batch_size: int = option(16, "Examples in a step, over all processes.")
    learning_rate: float | None = option(
        None,
        "Peak learning rate.",
        shown="5 % of the distance between pretrained rows in a step; an eighth of it after a regression",
    )
    eval_every: int | None = option(None, "Steps between evaluations.", shown="about ten in a run")
    patience: int | None = option(
        None, "Stop after this many evaluations without a lower held-out loss; keep the best.", shown="train to the end"
    )
    gradient_checkpointing: bool = option(False, "Less memory, a third slower; the same result.")
    report_to: tuple[str, ...] = option(
        (), "Experiment trackers of transformers' Trainer: tensorboard, wandb, mlflow, ...", shown="none"
    )


@dataclass(frozen=True)
class FurtherOptions:
    """What trains beside the new rows, or after them.

    Attributes:
        lora: Train low-rank adapters of the frozen model beside the new rows.
        lora_r: Rank of the adapters; the defaults of these three are those of the paper's fine-tuning.
        lora_alpha: Scale of the adapters.
        lora_dropout: Dropout of the adapters.
        lora_learning_rate: Peak learning rate of the adapters; the rows have ``learning_rate``.
        unfreeze_steps: Number of steps afterwards in which every weight trains (the paper's second phase; 0: none).
        unfreeze_learning_rate: Peak learning rate of these steps.
    """

    lora: bool = option(False, "Also train LoRA adapters of the frozen model; merged at the end.")
    lora_r: int = option(8, "Rank of the adapters.")
    lora_alpha: float = option(32.0, "Scale of the adapters.")
    lora_dropout: float = option(0.05, "Dropout of the adapters.")
    lora_learning_rate: float = option(2e-4, "Peak learning rate of the adapters.")
    unfreeze_steps: int = option(0, "Steps afterwards that train every weight (0: none).")
    unfreeze_learning_rate: float = option(1e-4, "Peak learning rate of these steps.")


@dataclass(frozen=True)
class ObjectiveOptions:
    """What is minimised.

    Attributes:
        objective: ``nll`` (the paper's negative log-likelihood over pairs), or ``distil`` (Token Distillation, see
            `grounding.distil`).
        distil_layer: For ``distil``: number of the layer whose hidden states are compared, from 1 (None: the last).
        distil_nll_weight: For ``distil``: weight of the negative log-likelihood beside the hidden states.
        distil_snippets: For ``distil``: number of contexts for each phrase that the model writes itself.
    """

    objective: str = option(
        NLL, "nll (log-likelihood of pairs), or distil (hidden states after a token as after its phrase)."
    )
    distil_layer: int | None = option(None, "Layer whose hidden states are compared.", shown="the last")
    distil_nll_weight: float = option(0.0, "Weight of the log-likelihood beside the hidden states.")
    distil_snippets: int = option(0, "Contexts for each phrase that the model writes itself.")


@dataclass(frozen=True)
class GroundOptions(PairsOptions, RowsOptions, FurtherOptions, ObjectiveOptions):
    """All options that affect the outcome of a grounding run, beside its inputs and seed."""

    def check(self) -> None:
        """Check values, and that they go together.

        Raises:
            InputError: When a value is out of range, or belongs to the other objective.
        """
        if self.solver not in (GRADIENT, REGRESSION):
            raise InputError(f"--solver is {self.solver!r}", remedy=f"use {GRADIENT} or {REGRESSION}")
        may_be_0 = ("epochs", "max_steps") if self.solver == REGRESSION else ()
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and (value > 0 or (value == 0 and name in may_be_0))):
                raise InputError(
                    f"--{name.replace('_', '-')} is {value}",
                    remedy="give 0 (none) or more" if name in may_be_0 else "give a number above 0",
                )
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
        choices = (BOTH_WAYS, TO_TOKENS_ONLY, TO_TEXT_ONLY)
        if self.directions not in (None, *choices):
            raise InputError(f"--directions is {self.directions!r}", remedy=f"use one of {', '.join(choices)}")
        refuse_without(self, "lora", ("lora_r", "lora_alpha", "lora_dropout", "lora_learning_rate"))
        refuse_without(self, "unfreeze_steps", ("unfreeze_learning_rate",))
        self._check_objective()
        self._check_solver()

    def _check_solver(self) -> None:
        if self.solver == GRADIENT:
            return
        against = {
            f"--objective {DISTIL}": self.objective == DISTIL,
            "--lora": self.lora,
            f"--directions {self.directions}": self.directions not in (None, TO_TOKENS_ONLY),
        }
        for flag, is_given in against.items():
            if is_given:
                raise InputError(
                    f"--solver {REGRESSION} fits rows of a frozen model to pairs from text to tokens, against {flag}",
                    remedy=f"leave {flag} out, or use --solver {GRADIENT}",
                )

    @property
    def passes(self) -> float:
        """Passes of the gradient steps over the pairs; `steps` overrides it."""
        return 1.0 if self.epochs is None else self.epochs

    @property
    def steps(self) -> int | None:
        """Number of gradient steps (None: by `passes`)."""
        if self.solver == REGRESSION and self.max_steps is None and self.epochs is None:
            return STEPS_AFTER_REGRESSION
        return self.max_steps

    @property
    def any_steps(self) -> bool:
        """Whether there are gradient steps at all."""
        return bool(self.passes if self.steps is None else self.steps)

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
        """Return the options with ``directions`` set: to the given value, or to a default for the kind of new tokens.

        For semantic IDs the default is text -> tokens alone. It reached the accuracy of both directions in half of the
        time, and a higher one in the same time (tests/benchmarks/study). For other words it is both directions, because
        the model should also be able to say what such a word means. A regression knows text -> tokens alone.

        Args:
            semantic_ids: Whether the new tokens are codes of semantic IDs.

        Returns:
            The options.
        """
        default = TO_TOKENS_ONLY if semantic_ids or self.solver == REGRESSION else BOTH_WAYS
        return replace(self, directions=self.directions or default)

    def resolved(self) -> dict[str, Any]:
        """The options for the manifest, without those that have no effect."""
        values = asdict(self)
        del values["report_to"]
        if self.solver == GRADIENT:
            del values["solver"]  # so that runs made before there was a choice are recognised
        values["epochs"], values["max_steps"] = self.passes, self.steps
        if self.learning_rate is None:
            values["learning_rate"] = "auto"  # the chosen rate is among the metrics
        if self.steps is not None:
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
    solver: str
    epochs: float | None
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
