"""A tokenised training example, and the padded batch of several examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IGNORED = -100  # label of a position without a loss; the value that torch's cross entropy ignores by default


@dataclass(frozen=True)
class Example:
    """A prompt and its answer as token ids.

    Attributes:
        prompt: Token ids of the prompt, which carry no loss.
        answer: Token ids of the answer, its end-of-turn token included, which carry the loss.
    """

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Pad examples on the right to one batch.

    Args:
        examples: At least one example.
        pad_id: Token id of the padding.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels``, each (B, T) int64. Labels are `IGNORED` outside the answers.
        They are not shifted: causal LMs of transformers shift them.
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
