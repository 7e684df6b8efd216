"""Validation by ranking while a model trains: NDCG@10 on a sample, the best weights kept, early stopping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gti_cli import console
from gti_cli.decoding.beam import TrieTensors, beam_search
from gti_cli.decoding.prompt_prior import PromptPrior
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.training.callbacks.best import BestState

if TYPE_CHECKING:
    from transformers import PreTrainedModel

METRIC = "valid_ndcg@10"
_K, _BEAMS = 10, 20


@dataclass(frozen=True)
class Ranker:
    """Ranks the catalogue for prompts and scores the place of each prompt's target.

    Attributes:
        codes: (N, L) int32. Codes of each item of the catalogue.
        code_ids: L arrays. Token id of each code of a level.
        prompts: Token ids of each prompt.
        targets: Row of the catalogue that is the answer to each prompt.
        pad_id: Token id of padding.
        device: Where the model is.
        autocast: Whether to compute in bfloat16.
        prior: Returns the behaviour prior behind the prompts, with the weights as they are; None: there is none.
    """

    codes: npt.NDArray[np.int32]
    code_ids: Sequence[npt.NDArray[np.int64]]
    prompts: Sequence[Sequence[int]]
    targets: Sequence[int]
    pad_id: int
    device: torch.device
    autocast: bool
    prior: Callable[[], PromptPrior] | None = None

    def __call__(self, model: PreTrainedModel, batch_size: int = 32) -> float:
        """Mean NDCG@10 over the prompts, by beam search with 20 beams.

        Args:
            model: A causal LM. Afterwards it is in the mode (training or evaluation) in which it was before.
            batch_size: Prompts in a batch.
        """
        trie = build_trie(self.codes)
        tensors = TrieTensors(trie, self.code_ids, self.device)
        order = sorted(range(len(self.prompts)), key=lambda n: len(self.prompts[n]))
        training = model.training
        model.eval()  # type: ignore[no-untyped-call]
        prior = self.prior() if self.prior is not None else None
        total = 0.0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            prompts = [list(self.prompts[n]) for n in batch]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                of_batch = prior.select(batch) if prior is not None else None
                ranking = beam_search(model, prompts, tensors, _BEAMS, self.pad_id, of_batch)
            total += float(ndcg(ranking.leaves, trie, np.array([self.targets[n] for n in batch]), _K).sum())
        model.train(training)
        return total / len(order)


def ndcg(leaves: npt.NDArray[np.int64], trie: Trie, targets: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.float64]:
    """NDCG@k of lists with one relevant item each; items that share a semantic ID share its ranks evenly.

    Args:
        leaves: (B, W) ranked leaves of the trie, -1 for none.
        trie: Semantic IDs as leaves, with their items.
        targets: (B,) row of the catalogue of each list's relevant item.
        k: Length of a list in items.

    Returns:
        (B,).
    """
    sizes = np.diff(trie.item_starts)
    leaf_of = np.empty(len(trie.items), dtype=np.int64)
    leaf_of[trie.items] = np.repeat(np.arange(trie.leaves), sizes)
    hit = leaves == leaf_of[targets][:, None]
    # A leaf takes as many ranks as it has items: count the items that stand before the target's leaf.
    filled = np.where(leaves >= 0, sizes[leaves], 0)
    before = np.where(hit, np.cumsum(filled, axis=1) - filled, 0).sum(axis=1)
    ties = sizes[leaf_of[targets]]
    # Mean gain over the ranks of the target's leaf, as a difference of cumulative gains.
    cumulative = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    gain = cumulative[np.minimum(before + ties, k)] - cumulative[np.minimum(before, k)]
    return np.where(hit.any(axis=1), gain / ties, 0.0)


class Validation(TrainerCallback):
    """Validates after given steps, keeps the best weights, and stops when ``patience`` validations bring no better.

    The results stand in the Trainer's log, so that a resumed run has those of the part before it. They depend on the
    weights alone, so that a rerun repeats them exactly.
    """

    def __init__(
        self,
        measure: Callable[[], float],
        model: torch.nn.Module,
        folder: Path,
        steps: Sequence[int],
        patience: int | None,
    ) -> None:
        """Validate a model while it trains.

        Args:
            measure: Computes NDCG@10 with the weights as they are.
            model: What trains; its best state is kept.
            folder: Folder for that state, see `BestState`.
            steps: Steps after which to validate.
            patience: Number of validations without a better one after which training stops. None: never.
        """
        self._measure, self._best = measure, BestState(model, folder)
        self._steps, self._patience = set(steps), patience

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Validate after the given steps."""
        if state.global_step not in self._steps:
            return
        earlier = validation_history(state)
        value = self._measure()
        state.log_history.append({"step": state.global_step, METRIC: value})
        console.note(f"step {state.global_step:,}: validation NDCG@10 {value:.4f}")
        if all(value > before for _, before in earlier):
            self._best.keep()
        elif self.finished(state.log_history):
            control.should_training_stop = True

    def finished(self, log: list[dict[str, Any]]) -> bool:
        """Whether the validations in a Trainer's log exhaust the patience."""
        values = _validations(log)
        if self._patience is None or not values:
            return False
        best = max(range(len(values)), key=lambda n: values[n][1])
        return len(values) - 1 - best >= self._patience

    def restore_best(self) -> None:
        """Put the best weights back into the model."""
        self._best.restore()


def validation_history(state: TrainerState) -> list[tuple[int, float]]:
    """Step and NDCG@10 of every validation of a run so far, including the part before it was resumed."""
    return _validations(state.log_history)


def _validations(log: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(int(entry["step"]), float(entry[METRIC])) for entry in log if METRIC in entry]


def validation_steps(steps: int, count: int) -> list[int]:
    """Steps after which to validate, spread evenly over a run.

    Args:
        steps: Number of steps of the run.
        count: Number of validations.

    Returns:
        The steps, the last step of the run among them. Fewer than ``count`` where the run has fewer steps.
    """
    return sorted({round(steps * n / count) for n in range(1, count + 1)} - {0})
