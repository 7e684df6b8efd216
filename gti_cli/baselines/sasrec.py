"""The baseline `sasrec`: self-attentive sequential recommendation (Kang & McAuley, ICDM 2018, arXiv 1808.09781).

Items are learned vectors, and a small causal transformer reads the history. An item's score is the product of its
vector with the hidden state after the last item. There is one difference to the paper: the network is trained by
cross-entropy over *all* items, not against one sampled negative, which is known to make it much stronger (Klenitskiy &
Vasilev, arXiv 2309.07602).

`gti_cli.baselines.sasrec_training` trains a network, and `gti_cli.baselines.sasrec_tuning`
chooses its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from gti_cli.baselines.base import Candidates, user_parts

Floats = npt.NDArray[np.float64]

_CANDIDATES_AT_ONCE = 1 << 16  # Candidates whose vectors are in memory at a time.


@dataclass(frozen=True)
class Size:
    """Size and regularisation of a network.

    Attributes:
        hidden: Width of an item's vector and of every layer.
        dropout: Rate of dropout, everywhere but on the residual connection of the attention.
        blocks: Number of blocks of attention and feed-forward layer.
        length: Number of last items of a history that the network sees.
    """

    hidden: int = 64
    dropout: float = 0.2
    blocks: int = 2
    length: int = 50


class Block(nn.Module):
    """Causal attention with one head and a feed-forward layer of the same width, each after a layer norm."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.before_attention, self.before_feed = nn.LayerNorm(size.hidden), nn.LayerNorm(size.hidden)
        self.query, self.key_value = nn.Linear(size.hidden, size.hidden), nn.Linear(size.hidden, 2 * size.hidden)
        self.out = nn.Linear(size.hidden, size.hidden)
        self.feed = nn.Sequential(
            nn.Linear(size.hidden, size.hidden),
            nn.ReLU(),
            nn.Dropout(size.dropout),
            nn.Linear(size.hidden, size.hidden),
            nn.Dropout(size.dropout),
        )
        self.dropout = size.dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, T, hidden) to the same shape."""
        key, value = self.key_value(x).chunk(2, dim=-1)
        query = self.query(self.before_attention(x))
        dropped = self.dropout if self.training else 0.0
        attended = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropped)
        x = x + self.out(attended)
        return x + self.feed(self.before_feed(x))  # type: ignore[no-any-return]


class Network(nn.Module):
    """The transformer over catalogue rows."""

    def __init__(self, items: int, size: Size) -> None:
        """Initialise a network.

        Args:
            items: Number of items in the catalogue, N.
            size: Width, depth and dropout of the network.
        """
        super().__init__()
        self.size = size
        self.items, self.places = nn.Embedding(items, size.hidden), nn.Embedding(size.length, size.hidden)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.blocks))
        self.drop, self.norm = nn.Dropout(size.dropout), nn.LayerNorm(size.hidden)
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, rows: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Compute the hidden state after each item.

        Args:
            rows: (B, T) int64 catalogue rows, oldest first, filled up on the right with any.
            lengths: (B,) int64 lengths of the histories.

        Returns:
            (B, T, hidden) hidden states. Attention is causal, so padding on the right does not affect them.
        """
        return self.states(self.items(rows), lengths)

    def states(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The same from (B, T, hidden) item vectors instead of rows."""
        # Positions count from the end, as in a sequence padded on the left: the last item always has the last position.
        step = torch.arange(vectors.shape[1], device=vectors.device)
        places = (self.size.length - lengths[:, None] + step).clamp(max=self.size.length - 1)
        x = self.drop(vectors * self.size.hidden**0.5 + self.places(places))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)  # type: ignore[no-any-return]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """(…, N) scores of all items; the item vectors are the matrix of the output head too."""
        return states @ self.items.weight.T


def batch_of(histories: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn B histories into (B, T) int64 rows, filled up on the right with 0, and (B,) lengths."""
    lengths = torch.tensor([len(rows) for rows in histories], device=device)
    rows = pad_sequence([torch.tensor(history, dtype=torch.long) for history in histories], batch_first=True)
    return rows.to(device), lengths


class SASRec:
    """A trained `Network` as a baseline."""

    name = "sasrec"

    def __init__(self, network: Network) -> None:
        self.network = network

    @torch.inference_mode()
    def scores(self, histories: Sequence[Sequence[int]]) -> Floats:
        """(U, N) scores of all items after each history's last `Size.length` items."""
        scores: Floats = self.network.logits(self._last_states(histories)).double().cpu().numpy()
        return scores

    @torch.inference_mode()
    def candidate_scores(self, histories: Sequence[Sequence[int]], candidates: Candidates) -> Floats:
        """(M,) scores of the candidates; they agree with `scores` up to the rounding of float32."""
        scores = [np.zeros(0)]
        for part, of_part in user_parts(histories, candidates):
            states, device = self._last_states(part), self.network.items.weight.device
            for start in range(0, len(of_part.rows), _CANDIDATES_AT_ONCE):
                rows = torch.from_numpy(of_part.rows[start : start + _CANDIDATES_AT_ONCE]).to(device)
                owners = torch.from_numpy(of_part.owners()[start : start + _CANDIDATES_AT_ONCE]).to(device)
                vectors = self.network.items.weight[rows]
                scores.append((vectors * states[owners]).sum(1).double().cpu().numpy())
        return np.concatenate(scores)

    def _last_states(self, histories: Sequence[Sequence[int]]) -> torch.Tensor:
        """(U, hidden) states after the last item of each history, without dropout."""
        was_training = self.network.training
        self.network.eval()
        device = self.network.items.weight.device
        rows, lengths = batch_of([history[-self.network.size.length :] for history in histories], device)
        states = self.network(rows, lengths)
        self.network.train(was_training)
        last: torch.Tensor = states[torch.arange(len(rows), device=device), lengths - 1]
        return last
