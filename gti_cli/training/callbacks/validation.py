"""Validation by ranking while a model trains: NDCG@10 on a sample of users, the best state kept, early stopping."""

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
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.training.callbacks.best import BestState

if TYPE_CHECKING:
    from transformers import PreTrainedModel

METRIC = "valid_ndcg@10"
_K, _BEAMS = 10, 20


@dataclass(frozen=True)
class Ranker:
    """Ranks the catalogue for users or queries, and says where what they want stands.

    Attributes:
        codes: (N, L) of the catalogue. code_ids: L arrays, token id by code.
        prompts: token ids of each question. targets: the row of the catalogue that each one wants. pad: id of padding.
        device: where the model is. autocast: compute in bfloat16.
    """

    codes: npt.NDArray[np.int32]
    code_ids: Sequence[npt.NDArray[np.int64]]
    prompts: Sequence[Sequence[int]]
    targets: Sequence[int]
    pad: int
    device: torch.device
    autocast: bool

    def __call__(self, model: PreTrainedModel, batch_size: int = 32) -> float:
        """Mean NDCG@10 over the questions, by beam search with 20 beams; the model's mode is as before afterwards."""
        trie = build_trie(self.codes)
        tensors = TrieTensors(trie, self.code_ids, self.device)
        order = sorted(range(len(self.prompts)), key=lambda n: len(self.prompts[n]))
        training = model.training
        model.eval()  # type: ignore[no-untyped-call]
        total = 0.0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            prompts = [list(self.prompts[n]) for n in batch]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                found = beam_search(model, prompts, tensors, _BEAMS, self.pad)
            total += float(ndcg(found.leaves, trie, np.array([self.targets[n] for n in batch]), _K).sum())
        model.train(training)
        return total / len(order)


def ndcg(leaves: npt.NDArray[np.int64], trie: Trie, targets: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.float64]:
    """NDCG@k of each of B lists with one relevant item; items that share a semantic ID share its ranks evenly.

    Args:
        leaves: (B, W) ranked leaves of the trie, -1 for none. targets: (B,) catalogue rows.
    """
    sizes = np.diff(trie.item_starts)
    leaf_of = np.empty(len(trie.items), dtype=np.int64)
    leaf_of[trie.items] = np.repeat(np.arange(trie.leaves), sizes)
    hit = leaves == leaf_of[targets][:, None]
    filled = np.where(leaves >= 0, sizes[leaves], 0)
    ahead = np.where(hit, np.cumsum(filled, axis=1) - filled, 0).sum(axis=1)
    ties = sizes[leaf_of[targets]]
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    gained = gains[np.minimum(ahead + ties, k)] - gains[np.minimum(ahead, k)]
    return np.where(hit.any(axis=1), gained / ties, 0.0)


class Validation(TrainerCallback):
    """Validates at given steps, keeps the weights of the best, and stops when ``patience`` validations bring no better.

    What was measured stands in the Trainer's log, so that a resumed run knows it; what is measured is a function of
    the weights alone, so that it repeats itself exactly.
    """

    def __init__(
        self,
        measure: Callable[[], float],
        model: torch.nn.Module,
        folder: Path,
        steps: Sequence[int],
        patience: int | None,
    ) -> None:
        self._measure, self._best = measure, BestState(model, folder)
        self._steps, self._patience = set(steps), patience

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Validate, if it is time."""
        if state.global_step not in self._steps:
            return
        seen = history(state)
        value = self._measure()
        state.log_history.append({"step": state.global_step, METRIC: value})
        console.note(f"step {state.global_step:,}: NDCG@10 {value:.4f} on validation users")
        if all(value > earlier for _, earlier in seen):
            self._best.keep()
        elif self.finished(state.log_history):
            control.should_training_stop = True

    def finished(self, log: list[dict[str, Any]]) -> bool:
        """Whether the validations in a Trainer's log say that it is time to stop."""
        values = _values(log)
        if self._patience is None or not values:
            return False
        best = max(range(len(values)), key=lambda n: values[n][1])
        return len(values) - 1 - best >= self._patience

    def restore_best(self) -> None:
        """Put the best weights back into the model."""
        self._best.restore()


def history(state: TrainerState) -> list[tuple[int, float]]:
    """(step, NDCG@10) of every validation of a run so far, resumed parts included."""
    return _values(state.log_history)


def _values(log: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(int(entry["step"]), float(entry[METRIC])) for entry in log if METRIC in entry]


def validation_steps(steps: int, times: int) -> list[int]:
    """``times`` steps spread evenly over a run of ``steps``, the last step among them; fewer where there are fewer."""
    return sorted({round(steps * n / times) for n in range(1, times + 1)} - {0})
