"""A tokenised example, and examples as a batch for training and for reference computations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IGNORED = -100  # label of a position that is not trained on, as torch's cross entropy has it


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt, and of the answer that is trained on (its end-of-turn token included)."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Examples as one batch, filled up on the right.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels``, each (B, T) int64; labels are `IGNORED` outside the answers
        and are not shifted (causal LMs shift them).
    """
    import torch

    width = max(len(example) for example in examples)
    shape = (len(examples), width)
    ids = torch.full(shape, pad_id, dtype=torch.int64)
    mask = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORED, dtype=torch.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.tensor(example.prompt + example.answer)
        mask[row, : len(example)] = 1
        labels[row, len(example.prompt) : len(example)] = torch.tensor(example.answer)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
