"""One constraint step of a search, ours and as STATIC describes it (Su et al., 2026, "Vectorizing the Trie").

STATIC holds all transitions of the trie in one sparse matrix and reads the rows of all hypotheses in one burst; for the
second code it has a dense table by the first. The peer here is written from that description.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gti_cli.decoding.beam import TrieTensors

Candidates = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # log-probabilities, tokens, next states; (R, widest)


def distinct(count: int, levels: int, codes: int) -> np.ndarray:
    """Draw ``count`` random semantic IDs without duplicates; (count, levels) int32."""
    rng = np.random.default_rng(0)
    numbers = np.unique(rng.integers(0, codes**levels, count * 2))
    numbers = rng.permutation(numbers)[:count]
    assert len(numbers) == count
    ids = np.empty((count, levels), dtype=np.int32)
    for level in reversed(range(levels)):
        numbers, ids[:, level] = np.divmod(numbers, codes)
    return ids


class SparseRows:
    """The peer: one sparse matrix of (token, next state) for all levels, and a dense table for the second code."""

    def __init__(self, ids: np.ndarray, first_token: int, codes: int, device: torch.device | str = "cpu") -> None:
        levels = ids.shape[1]
        rows = ids[np.lexsort(ids.T[::-1])]
        new = np.logical_or.accumulate(rows[1:] != rows[:-1], axis=1)
        new = np.vstack([np.ones((1, levels), dtype=bool), new])
        self.widest, pairs, lengths, offset = [], [], [], 1
        # The node of each row in the level above; nodes are numbered within a level.
        above = np.zeros(len(rows), dtype=np.int64)
        for level in range(levels):
            entry = new[:, level]
            parents, labels = above[entry], rows[entry, level]
            children = np.bincount(parents)
            self.widest.append(int(children.max()))
            lengths.append(children)
            tokens = first_token + level * codes + labels
            pairs.append(np.stack([tokens, offset + np.arange(len(labels))], axis=1).astype(np.int32))
            offset += len(labels)
            above = np.cumsum(entry) - 1
        spare = np.zeros((max(self.widest), 2), dtype=np.int32)
        self.packed = torch.from_numpy(np.concatenate([*pairs, spare]))
        self.pointers = torch.from_numpy(np.concatenate([[0], np.cumsum(np.concatenate(lengths))]))
        self.mask = torch.zeros(codes, codes, dtype=torch.bool)
        self.states = torch.zeros(codes, codes, dtype=torch.long)
        first, second = pairs[0], pairs[1]
        parent = np.repeat(np.arange(len(first)), lengths[1])
        place = first[parent, 0] - first_token, second[:, 0] - first_token - codes
        self.mask[place], self.states[place] = True, torch.from_numpy(second[:, 1].astype(np.int64))
        self.span = slice(first_token + codes, first_token + 2 * codes)
        for name in ("packed", "pointers", "mask", "states"):
            setattr(self, name, getattr(self, name).to(device))

    def sparse(self, log_probs: torch.Tensor, states: torch.Tensor, widest: int) -> Candidates:
        start = self.pointers[states]
        count = self.pointers[states + 1] - start
        offsets = torch.arange(widest, device=start.device)
        burst = self.packed[start[:, None] + offsets]
        tokens = burst[..., 0].long()
        scores = log_probs.gather(1, tokens)
        return torch.where(offsets < count[:, None], scores, -torch.inf), tokens, burst[..., 1]

    def dense(self, log_probs: torch.Tensor, first: torch.Tensor) -> Candidates:
        """Return the candidates of the second code, given the first codes (R,)."""
        scores = torch.where(self.mask[first], log_probs[:, self.span], -torch.inf)
        tokens = torch.arange(self.span.start, self.span.stop, device=first.device).expand(len(first), -1)
        return scores, tokens, self.states[first]


def ours(trie: TrieTensors, level: int, log_probs: torch.Tensor, nodes: torch.Tensor) -> Candidates:
    """Return the candidates by gti's trie; next states are (R, 1), the node of the first candidate of each row."""
    tokens, first = trie.children(level, nodes)
    return trie.mask(level, nodes, log_probs.gather(1, tokens)), tokens, first[:, None]


def triples(found: Candidates, first_state: int) -> list[Any]:
    """Return the allowed candidates in a fixed order, for comparison: rows, tokens, nodes, log-probabilities."""
    scores, tokens, following = (part.cpu() for part in found)
    if following.shape != scores.shape:
        following = following + torch.arange(scores.shape[1])
    row, column = torch.isfinite(scores).nonzero(as_tuple=True)
    order = torch.from_numpy(np.lexsort((tokens[row, column], row)))
    row, column = row[order], column[order]
    return [row, tokens[row, column], following[row, column].long() - first_state, scores[row, column]]
