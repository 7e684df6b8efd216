"""What is measured for the objective over pairs: losses and accuracies on held-out pairs, row figures, retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from gti_cli.geometry.sampling import draw_at_most
from gti_cli.grounding.evaluations import HELD_OUT_LOSS
from gti_cli.grounding.held_out import sum_over_batches
from gti_cli.grounding.job import GroundingJob
from gti_cli.grounding.nll.batches import Collator, GroupTensors
from gti_cli.grounding.nll.build_corpus import build_corpus
from gti_cli.grounding.nll.corpus import Corpus
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.retrieval import retrieval
from gti_cli.grounding.row_figures import ComparableVectors, comparable_vectors, matrix_figures
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.pair_prompts import DIRECTIONS, TO_TEXT, TO_TOKENS, Pair
from gti_cli.workspace import StageRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gti_cli.training.lora import Adapters

_LOSSES = {TO_TOKENS: "loss_to_tokens", TO_TEXT: "loss_to_text"}
_COUNTS = {TO_TOKENS: "held_out_examples_to_tokens", TO_TEXT: "held_out_examples_to_text"}


class HeldOutLosses:
    """Losses and accuracies on a sample of the held-out examples; several processes share the work.

    Attributes:
        trained: Computes the loss, with the prefixes of ``corpus``.
        corpus: The held-out examples.
        numbers: Which of them are measured, by direction.
        counts: Numbers of examples that are measured, by direction (``held_out_examples_to_tokens``, …).
    """

    def __init__(self, job: GroundingJob, trained: GroundingModel, corpus: Corpus, pad: int) -> None:
        """Draw the sample: at most ``held_out_sample`` examples of each direction.

        Args:
            job: The run.
            trained: Computes the loss, with the prefixes of ``corpus``.
            corpus: The held-out examples, whose groups are directions.
            pad: Token id that fills rows up.
        """
        self._lockstep = job.sharding is not None
        self.trained, self.corpus, self._device = trained, corpus, job.device
        self._collator = Collator(corpus, pad, lockstep=self._lockstep)
        # Level of each token id up to the last new token; -1 for all tokens that are not codes.
        self._level_of = torch.full((int(job.new_tokens.ids.max()) + 1,), -1)
        self._level_of[torch.tensor(job.new_tokens.ids)] = torch.tensor(job.new_tokens.levels.astype(np.int64))
        self._levels = int(job.new_tokens.levels.max()) + 1
        self.numbers: dict[str, list[int]] = {}
        self.counts: dict[str, int] = {}
        for direction in job.directions:
            numbers = [n for n, group in enumerate(corpus.groups) if DIRECTIONS[group] == direction]
            self.numbers[direction] = draw_at_most(numbers, job.options.held_out_sample, job.seed)
            self.counts[_COUNTS[direction]] = len(self.numbers[direction])

    def measure(self) -> dict[str, float]:
        """Measure the rows as they are.

        Returns:
            Mean loss per answer token: `HELD_OUT_LOSS` over both directions, and ``loss_to_tokens`` and
            ``loss_to_text`` for each that trains. ``accuracy_level_n``: share of the codes of level n that are the most
            probable token of the whole vocabulary, given the text and the right codes before.
        """
        self.trained.eval()  # no dropout in adapters; the Trainer sets its own mode in every step
        figures: dict[str, float] = {}
        loss, count = 0.0, 0.0
        lengths = self.corpus.computed_lengths()
        for direction, numbers in self.numbers.items():
            sums = sum_over_batches(
                self._batch_sums, 2 + 2 * self._levels, numbers, lengths, self._device, lockstep=self._lockstep
            )
            figures[_LOSSES[direction]] = sums[0] / sums[1]
            loss, count = loss + sums[0], count + sums[1]
            if direction == TO_TOKENS:
                for level, (right, codes) in enumerate(zip(sums[2::2], sums[3::2], strict=True)):
                    figures |= {f"accuracy_level_{level}": right / codes} if codes else {}
        return {HELD_OUT_LOSS: loss / count, **figures}

    @torch.no_grad()
    def _batch_sums(self, numbers: Sequence[int]) -> torch.Tensor:
        """Sum of the loss, number of answer tokens, then for each level the codes predicted right and all codes."""
        groups = self._collator(numbers)["groups"]
        loss, targets, predicted = self.trained.predict([_to_device(group, self._device) for group in groups])
        sums = torch.zeros(2 + 2 * self._levels, dtype=torch.float64)
        sums[0] = loss.double().cpu()
        sums[1] = len(targets)
        levels = self._level_of[targets.cpu().clamp(max=len(self._level_of) - 1)]
        levels[targets.cpu() >= len(self._level_of)] = -1
        right = (predicted == targets).cpu()
        for level in range(self._levels):
            sums[2 + 2 * level] = (right & (levels == level)).sum()
            sums[3 + 2 * level] = (levels == level).sum()
        return sums


def _to_device(group: GroupTensors, device: torch.device) -> GroupTensors:
    return {name: value.to(device) for name, value in group.items()}


class PairMeasures:
    """The `HeldOutMeasures` of the objective over pairs.

    Attributes:
        losses: Measures losses and accuracies (None: nothing is held out).
        searched: Held-out pairs whose items `retrieval_figures` looks for.
    """

    def __init__(
        self,
        job: GroundingJob,
        model: PreTrainedModel,
        rows: NewRows,
        tokenizer: PreTrainedTokenizerBase,
        losses: HeldOutLosses | None,
        held_out: Sequence[Pair],
        codebooks: ComparableVectors | None,
    ) -> None:
        """Draw the pairs to search for: at most ``retrieval_sample`` held-out pairs of items.

        Args:
            job: The run.
            model: The model with ``rows`` attached.
            rows: The new rows.
            tokenizer: The model's tokenizer.
            losses: Measures the losses of ``held_out`` (None: nothing is held out).
            held_out: The held-out pairs.
            codebooks: Codebook vectors to compare the rows with (None: there are none).
        """
        self._job, self._model, self._rows, self._tokenizer = job, model, rows, tokenizer
        self.losses, self._codebooks = losses, codebooks
        items = frozenset() if job.item_index is None else frozenset(job.item_index.tokens)
        candidates = [pair for pair in held_out if pair.tokens in items]
        searched = draw_at_most(candidates, job.options.retrieval_sample, job.seed)
        self.searched = searched if TO_TOKENS in job.directions else []

    @property
    def examples(self) -> int:
        """Number of held-out examples that `curve_figures` computes."""
        return sum(self.losses.counts.values()) if self.losses else 0

    def curve_figures(self) -> dict[str, float | None]:
        """Measure held-out losses and accuracies, effective rank and RSA of the rows as they are."""
        figures: dict[str, float | None] = {}
        if self.losses is not None:
            figures.update(self.losses.measure())
        among = self._job.new_tokens.codes_or_all()
        figures.update(matrix_figures(self._rows.matrices(), self._codebooks, self._job.seed, among))
        return figures

    def retrieval_figures(self) -> dict[str, float]:
        """Find the items of held-out texts, see `retrieval`; {} without items or without that direction."""
        if self._job.item_index is None or not self.searched:
            return {}
        return retrieval(self._model, self._tokenizer, self._job.item_index, self.searched, self._job.templates)


def pair_measures(
    job: GroundingJob,
    run: StageRun,
    model: PreTrainedModel,
    rows: NewRows,
    tokenizer: PreTrainedTokenizerBase,
    held_out: Sequence[Pair],
    adapters: Adapters | None = None,
) -> PairMeasures:
    """Prepare all measurements of a model.

    Args:
        job: The run.
        run: Receives the numbers of examples that are measured.
        model: The model with ``rows`` attached.
        rows: The new rows.
        tokenizer: The model's tokenizer.
        held_out: The held-out pairs.
        adapters: Adapters inside ``model`` (None: there are none).

    Returns:
        The measurements.
    """
    codebooks = comparable_vectors(job.codebooks, job.new_tokens) if job.codebooks else None
    losses = None
    if held_out:
        frozen_rows = rows if adapters is None else None
        corpus = build_corpus(job, model, frozen_rows, tokenizer, held_out, run.work / "held-out-pairs.arrow")
        measured = GroundingModel(model, rows, corpus.prefixes, adapters)
        losses = HeldOutLosses(job, measured, corpus, int(tokenizer.pad_token_id))
        run.counts.update(losses.counts)
    measures = PairMeasures(job, model, rows, tokenizer, losses, held_out, codebooks)
    if measures.searched:
        run.counts["retrieval_pairs"] = len(measures.searched)
    return measures
