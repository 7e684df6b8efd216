"""The learned part of a behaviour prior: a weight for each channel and level, by which its bias is added to the logits.

`gti_cli.decoding.prior_bias` explains the bias. In training it is computed for each target together with the batch;
here it meets the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

ATTRIBUTE = "behaviour_prior"  # Name of the module within the model while it trains.


class PriorWeights(nn.Module):
    """A weight for each of C channels at each of L levels, and the token ids of the levels' codes.

    Attributes:
        weights: (C, L) parameters.
        code_ids: (L, K) int64. Token id of each code of a level; K is the largest codebook. A level with fewer codes
            repeats its first one.
    """

    code_ids: torch.Tensor

    def __init__(
        self,
        code_ids: Sequence[npt.NDArray[np.int64]],
        start: Sequence[Sequence[float]],
        *,
        opening: int,
        answer_length: int,
    ) -> None:
        """Start with given weights.

        Args:
            code_ids: L arrays. Token id of each code of a level.
            start: (C, L) weights before training.
            opening: Tokens of an item before its first code.
            answer_length: Tokens of an answer: those of the item, and the end.
        """
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(start, dtype=torch.float32))
        self._opening, self._answer_length = opening, answer_length
        widest = max(map(len, code_ids))
        padded = np.stack([np.append(ids, np.full(widest - len(ids), ids[0])) for ids in code_ids])
        self.register_buffer("code_ids", torch.from_numpy(padded.astype(np.int64)), persistent=False)

    def weighted(self, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the weighted bias adds to the logits, and to those of which tokens.

        Args:
            bias: (B, M, C, L, K) float32 of each code behind M targets; 0 behind the last code of a level.

        Returns:
            (B, M * A, K) float32 and (B, M * A, K) int64 token ids, A the length of an answer.
        """
        rows, targets, _, levels, widest = bias.shape
        # The columns of an answer that predict no code get 0, added to any token.
        shape = rows, targets, self._answer_length, widest
        added, ids = bias.new_zeros(shape), self.code_ids.new_zeros(shape)
        codes = slice(self._opening, self._opening + levels)
        added[:, :, codes] = (self.weights[..., None] * bias).sum(2)
        ids[:, :, codes] = self.code_ids
        return added.flatten(1, 2), ids.flatten(1, 2)

    def add_to(self, logits: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Add the weighted bias to the logits of the codes.

        Args:
            logits: (B, M * A, V) float32 logits at the positions that predict the answers of M targets, A the length
                of an answer.
            bias: As in `weighted`.

        Returns:
            The same tensor, which is changed in place.
        """
        added, ids = self.weighted(bias)
        # In place and all levels at once: logits of the whole vocabulary are large, and a copy of them takes time.
        return logits.scatter_add_(2, ids, added)


def attach(model: nn.Module, weights: PriorWeights) -> None:
    """Make the weights a part of the model, so that they train, are stored and are resumed with it."""
    model.add_module(ATTRIBUTE, weights)


def detach(model: nn.Module) -> PriorWeights | None:
    """Take the weights out of the model, so that it is saved as a plain one; None where it has none."""
    weights = cast("PriorWeights | None", getattr(model, ATTRIBUTE, None))
    if weights is not None:
        delattr(model, ATTRIBUTE)
    return weights


def find(model: nn.Module) -> PriorWeights | None:
    """The weights within a model, also where something is wrapped around it; None where it has none.

    Adapters of peft keep the weights as they were beside a copy that trains: then that copy.
    """
    weights = [module for module in model.modules() if isinstance(module, PriorWeights)]
    return next((module for module in weights if module.weights.requires_grad), weights[0] if weights else None)
