"""Examples with the model that computes them: where the positions of a regression come from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gti_cli import console
from gti_cli.grounding.nll.corpus import Corpus
from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.nll.objective import GroundingModel, KeptContexts
from gti_cli.grounding.regression.collect import batches_by_length, collect
from gti_cli.grounding.regression.kept_states import BYTES_OF_CONTEXTS, StateStore, room
from gti_cli.grounding.regression.positions import Positions
from gti_cli.workspace import processes


@dataclass
class Spent:
    """What the regressions of a run have cost so far, in this attempt.

    Attributes:
        passes: Passes of the model over a source.
        pass_seconds: Time of these.
        solver_seconds: Time of the solver.
    """

    passes: int = 0
    pass_seconds: float = 0.0
    solver_seconds: float = 0.0


class Source:
    """Examples, and the model that computes them; the processes of a launch share the examples.

    Attributes:
        model: The frozen model with the new rows attached, with the template prefixes of the examples.
        spent: Receives what passes cost.
        shared: Whether other processes hold positions, too.
    """

    def __init__(
        self,
        name: str,
        model: GroundingModel,
        corpus: Corpus,
        numbers: Sequence[int],
        pad: int,
        store: StateStore,
        spent: Spent | None = None,
    ) -> None:
        """Divide the examples into batches.

        Args:
            name: What they are, in words that a progress bar can show; also the name of files.
            model: See the class.
            corpus: Examples whose answers are new tokens.
            numbers: Which of them to use.
            pad: Token id that fills rows up.
            store: Where hidden states are kept.
            spent: See the class.
        """
        self.model, self.spent, self.shared = model, spent or Spent(), processes.world() > 1
        self._name, self._corpus, self._pad, self._store = name, corpus, pad, store
        self._answers = [corpus.examples[number].answer for number in numbers]
        self._batches = processes.share(batches_by_length(corpus, numbers))
        self._contexts = KeptContexts(room(BYTES_OF_CONTEXTS, model.rows.ids.device))

    def places(self) -> int:
        """Number of tokens of the longest answer."""
        return max(map(len, self._answers))

    def named(self, places: Sequence[int]) -> torch.Tensor:
        """Numbers (k,) int64 of the new rows that answers have at some places, increasing."""
        tokens = {answer[place] for answer in self._answers for place in places if place < len(answer)}
        ids = self.model.rows.ids.cpu()
        return torch.isin(ids, torch.tensor(sorted(tokens), dtype=torch.int64)).nonzero().squeeze(1)

    def positions(self, places: Sequence[int], rule: LogitRule, name: str) -> list[Positions]:
        """Compute the positions that predict the answers' tokens at some places, or find them in files.

        Args:
            places: Numbers of the tokens in their answers, in ascending order.
            rule: What the model does to its head's output.
            name: What the states are called that stand behind the rows as they are.

        Returns:
            The positions of each place that this process holds.
        """
        stem = self._stem(name)
        found = [self._store.find(f"{stem}{place}", self.model.rows.head.weight.dtype) for place in places]
        kept = [part for part in found if part is not None]
        if len(kept) == len(places):
            return [Positions(states, *(numbers[key] for key in ("old", "targets", "own"))) for states, numbers in kept]
        began = time.monotonic()
        own = sum(map(len, self._batches))
        where = f"place {places[0]}" if len(places) == 1 else f"places {places[0]} to {places[-1]}"
        with console.progress(f"Hidden states, {self._name}, {where}", own, "examples") as advance:
            collected = collect(
                self.model,
                self._corpus,
                self._batches,
                places,
                rule,
                self._pad,
                self._store,
                stem,
                self._contexts,
                advance,
            )
        self.spent.passes += 1
        self.spent.pass_seconds += time.monotonic() - began
        return collected

    def _stem(self, name: str) -> str:
        """The beginning of files' names."""
        return f"{self._name.replace(' ', '-')}-{name}-"
