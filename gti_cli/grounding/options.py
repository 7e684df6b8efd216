"""The options of grounding and what else a run needs, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.prompts.pairs import DIRECTIONS, OURS, TO_TEXT, TO_TOKENS, Templates

if TYPE_CHECKING:
    import torch

    from gti_cli.grounding.distil_contexts import Phrases
    from gti_cli.grounding.pairs import Texts
    from gti_cli.grounding.retrieval import Catalogue
    from gti_cli.training.checkpoints import Checkpoint
    from gti_cli.training.sharding import Sharding
    from gti_cli.vocabulary.tokens import NewTokens

NLL, DISTIL = "nll", "distil"  # objectives
_OF_DISTIL = ("distil_layer", "distil_nll_weight", "distil_snippets")
_OF_NLL = ("directions", "retrieval_sample")
DIRECTION_NAMES = {"both": DIRECTIONS, "to-tokens": (TO_TOKENS,), "to-text": (TO_TEXT,)}


@dataclass(frozen=True)
class GroundOptions:
    """What decides the outcome of a grounding run, beside its inputs and seed.

    Attributes:
        epochs: passes over the training pairs (may be a fraction). max_steps: overrides it if given.
        batch_size: examples in a step, over all processes together.
        learning_rate: peak, after 3 % linear warm-up, linear decay to 0.
        directions: ``both``, ``to-tokens`` (text -> tokens) or ``to-text`` (tokens -> text).
        held_out: share of the pairs that is not trained on. retrieval_sample: how many of them, in the direction text
            -> tokens, are searched for among all items before and after. max_text_tokens: longer texts are cut.
        held_out_sample: most held-out examples of each direction on which losses and accuracies are measured.
        eval_every: steps from one evaluation to the next (None: see `evaluation.evaluation_steps`).
        patience: stop after as many evaluations without a lower held-out loss, and keep the best rows (None: train
            to the end and keep the last rows).
        lora: train low-rank adapters of the frozen model beside the new rows. lora_r, lora_alpha, lora_dropout: of
            them (the paper's for fine-tuning: 8, 32, 0.05). lora_learning_rate: their peak; the rows keep theirs.
        unfreeze_steps: then so many steps with every weight trained (the paper's second phase; 0: none).
        unfreeze_learning_rate: peak of these.
        gradient_checkpointing: keep few activations and compute the others twice: less memory, a third slower.
        objective: ``nll`` (the paper's: pairs in both directions), or ``distil`` (`grounding.distil`). Of the latter:
            distil_layer: whose hidden states are compared, from 1 (None: the last). distil_nll_weight: of the negative
            log-likelihood beside them. distil_snippets: contexts that the model writes itself, for each phrase.
    """

    epochs: float = 10.0
    max_steps: int | None = None
    batch_size: int = 16
    learning_rate: float = 1e-3
    directions: str = "both"
    held_out: float = 0.05
    retrieval_sample: int = 500
    max_text_tokens: int = 128
    held_out_sample: int = 2000
    eval_every: int | None = None
    patience: int | None = None
    lora: bool = False
    lora_r: int = 8
    lora_alpha: float = 32
    lora_dropout: float = 0.05
    lora_learning_rate: float = 2e-4
    unfreeze_steps: int = 0
    unfreeze_learning_rate: float = 1e-4
    gradient_checkpointing: bool = False
    objective: str = NLL
    distil_layer: int | None = None
    distil_nll_weight: float = 0.0
    distil_snippets: int = 0

    def check(self) -> None:
        """Raise `InputError` for a value that cannot be meant."""
        positive = {
            "--epochs": self.epochs,
            "--max-steps": self.max_steps,
            "--batch-size": self.batch_size,
            "--learning-rate": self.learning_rate,
            "--max-text-tokens": self.max_text_tokens,
            "--held-out-sample": self.held_out_sample,
            "--eval-every": self.eval_every,
            "--patience": self.patience,
            "--lora-r": self.lora_r,
            "--lora-alpha": self.lora_alpha,
            "--lora-learning-rate": self.lora_learning_rate,
            "--unfreeze-learning-rate": self.unfreeze_learning_rate,
        }
        for option, value in positive.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{option} is {value}", remedy="give a number above 0")
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
        if self.directions not in DIRECTION_NAMES:
            raise InputError(f"--directions is {self.directions!r}", remedy=f"use one of {', '.join(DIRECTION_NAMES)}")
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

    def resolved(self) -> dict[str, Any]:
        """For the manifest: without what has no effect."""
        values = asdict(self)
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


@dataclass(frozen=True)
class Job:
    """A run, checked and ready to start.

    Attributes:
        checkpoint: to start from. new_tokens: its list. texts: what to ground with (`Phrases`: to distil).
        catalogue: the semantic IDs that exist (None: the tokens are no semantic IDs). options, seed: as given.
        device, dtype: of the frozen model. templates: the wordings of the prompts.
        codebooks: file of the vectors that the codes stand for (None: there is none).
        sharding: how the frozen model is divided among the processes (None: every process has all of it).
    """

    checkpoint: Checkpoint
    new_tokens: NewTokens
    texts: Texts | Phrases
    catalogue: Catalogue | None
    options: GroundOptions
    seed: int
    device: torch.device
    dtype: torch.dtype
    templates: Templates = OURS
    codebooks: Path | None = None
    sharding: Sharding | None = None
