"""What grounding is judged by: losses and accuracies on held-out pairs, shape of the rows, retrieval of items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gti_cli.grounding.geometry import ComparableVectors, comparable_vectors, describe_all
from gti_cli.grounding.job import DIRECTION_NAMES, Job
from gti_cli.grounding.nll.batches import Collator, Corpus
from gti_cli.grounding.nll.corpus import corpus_of
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.retrieval import retrieval, sample
from gti_cli.grounding.rows import NewRows
from gti_cli.grounding.stopping import HELD_OUT_LOSS
from gti_cli.prompts.pairs import DIRECTIONS, TO_TOKENS, Pair
from gti_cli.workspace import StageRun, processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gti_cli.training.lora import Adapters

LOSSES = {DIRECTIONS[0]: "loss_to_tokens", DIRECTIONS[1]: "loss_to_text"}
_BATCH = 32


class HeldOut:
    """Losses and accuracies on a sample of the held-out examples; several processes share the work.

    Attributes:
        counts: examples that are measured, by direction (``held_out_examples_to_tokens``, …).
    """

    def __init__(self, job: Job, trained: GroundingModel, corpus: Corpus, pad: int) -> None:
        """``trained`` computes the loss, with the heads of ``corpus``; ``held_out_sample`` examples each way."""
        self._in_step = job.sharding is not None
        self._model, self._collator, self._device = trained, Collator(corpus, pad, in_step=self._in_step), job.device
        self._level_of = torch.full((int(job.new_tokens.ids.max()) + 1,), -1)
        self._level_of[torch.tensor(job.new_tokens.ids)] = torch.tensor(job.new_tokens.levels.astype(np.int64))
        self._levels = int(job.new_tokens.levels.max()) + 1
        self._places: dict[str, list[int]] = {}
        self.counts: dict[str, int] = {}
        for direction in DIRECTION_NAMES[job.options.directions]:
            places = [n for n, group in enumerate(corpus.groups) if DIRECTIONS[group] == direction]
            self._places[direction] = sample(places, job.options.held_out_sample, job.seed)
            self.counts[LOSSES[direction].replace("loss", "held_out_examples")] = len(self._places[direction])

    def measure(self) -> dict[str, float]:
        """Mean loss per answer token: by direction, and of all (`HELD_OUT_LOSS`); teacher-forced accuracy by level.

        ``accuracy_level_n``: share of the codes of level n for which, given the text and the codes before it, no other
        token of the whole vocabulary is more probable.
        """
        self._model.eval()  # no dropout of adapters; the Trainer sets its mode at every step
        found: dict[str, float] = {}
        loss, count = 0.0, 0.0
        for direction, places in self._places.items():
            sums = self._sums(places)
            found[LOSSES[direction]] = sums[0] / sums[1]
            loss, count = loss + sums[0], count + sums[1]
            if direction == TO_TOKENS:
                for level, (right, asked) in enumerate(zip(sums[2::2], sums[3::2], strict=True)):
                    found |= {f"accuracy_level_{level}": right / asked} if asked else {}
        return {HELD_OUT_LOSS: loss / count, **found}

    @torch.no_grad()
    def _sums(self, places: Sequence[int]) -> list[float]:
        """Sum of the loss, number of answer tokens, then for each level the right codes and all; of all processes."""
        lengths = self._collator.corpus.text_lengths()
        order = sorted(places, key=lambda n: lengths[n])
        batches = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        sums = torch.zeros(2 + 2 * self._levels, dtype=torch.float64)
        for batch in processes.share(batches, in_step=self._in_step):
            groups = self._collator(batch)["groups"]
            loss, targets, predicted = self._model.predict([_to(group, self._device) for group in groups])
            sums[0] += loss.double().cpu()
            sums[1] += len(targets)
            levels = self._level_of[targets.cpu().clamp(max=len(self._level_of) - 1)]
            levels[targets.cpu() >= len(self._level_of)] = -1
            right = (predicted == targets).cpu()
            for level in range(self._levels):
                sums[2 + 2 * level] += (right & (levels == level)).sum()
                sums[3 + 2 * level] += (levels == level).sum()
        return total(sums, self._device)


def _to(group: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: value.to(device) for name, value in group.items()}


def total(sums: torch.Tensor, device: torch.device) -> list[float]:
    """``sums`` added up over the processes of this launch."""
    if processes.world() > 1:
        shared = sums.to(device)
        torch.distributed.all_reduce(shared)
        sums = shared.cpu()
    found: list[float] = sums.tolist()
    return found


class Measures:
    """All that is measured: `point` at any step of the training, and `search` before and after."""

    def __init__(
        self,
        job: Job,
        model: PreTrainedModel,
        rows: NewRows,
        tokenizer: PreTrainedTokenizerBase,
        held_out: HeldOut | None,
        held: Sequence[Pair],
        codebooks: ComparableVectors | None,
    ) -> None:
        """``held_out`` measures a sample of the examples of the pairs ``held`` (None: nothing is held out)."""
        self._job, self._model, self._rows, self._tokenizer = job, model, rows, tokenizer
        self.held_out, self._codebooks = held_out, codebooks
        known = {} if job.catalogue is None else dict.fromkeys(job.catalogue.tokens)
        asked = sample([pair for pair in held if pair.tokens in known], job.options.retrieval_sample, job.seed)
        self.asked = asked if TO_TOKENS in DIRECTION_NAMES[job.options.directions] else []

    @property
    def examples(self) -> int:
        """How many held-out examples `point` computes."""
        return sum(self.held_out.counts.values()) if self.held_out else 0

    def point(self) -> dict[str, float | None]:
        """Held-out losses and accuracies, effective rank and RSA, of the rows as they are."""
        found: dict[str, float | None] = {}
        if self.held_out is not None:
            found.update(self.held_out.measure())
        found.update(
            describe_all(matrices(self._rows), self._codebooks, self._job.seed, self._job.new_tokens.codes_or_all())
        )
        return found

    def search(self) -> dict[str, float]:
        """Constrained retrieval of held-out texts' items; nothing where there are no items or no such direction."""
        if self._job.catalogue is None or not self.asked:
            return {}
        return retrieval(self._model, self._tokenizer, self._job.catalogue, self.asked, self._job.templates)


def matrices(rows: NewRows) -> dict[str, Any]:
    """The parameters as float32 arrays (n, d): ``""`` the embedding's, ``"output_"`` an untied head's."""
    found = {"": rows.embedding, "output_": rows.output}
    return {name: p.detach().cpu().numpy().copy() for name, p in found.items() if p is not None}


def measures_of(
    job: Job,
    run: StageRun,
    model: PreTrainedModel,
    rows: NewRows,
    tokenizer: PreTrainedTokenizerBase,
    held: Sequence[Pair],
    adapters: Adapters | None = None,
) -> Measures:
    """Everything that is measured of a model with ``rows`` attached; counts of what is sampled go to ``run``."""
    codebooks = comparable_vectors(job.codebooks, job.new_tokens) if job.codebooks else None
    held_out = None
    if held:
        unseen = corpus_of(job, model, rows if adapters is None else None, tokenizer, held)
        measured = GroundingModel(model, rows, unseen.heads, adapters)
        held_out = HeldOut(job, measured, unseen, int(tokenizer.pad_token_id))
        run.counts.update(held_out.counts)
    found = Measures(job, model, rows, tokenizer, held_out, held, codebooks)
    if found.asked:
        run.counts["retrieval_pairs"] = len(found.asked)
    return found
