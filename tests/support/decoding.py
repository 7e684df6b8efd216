"""Small cases of search, and brute force over all items."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gti_cli.decoding.trie import Trie

PAD, VOCAB, K = 0, 120, 6


CPU = torch.device("cpu")


def token_ids(levels: int) -> list[np.ndarray]:
    """Ids of each level's codes; shuffled, so that a code is never its own id by luck."""
    ids = np.random.default_rng(9).permutation(np.arange(50, 50 + levels * K))
    return [ids[level * K : (level + 1) * K].astype(np.int64) for level in range(levels)]


def case(seed: int, items: int, levels: int, prompts: int, shared: int = 4) -> tuple[np.ndarray, list[list[int]]]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, K, (items, levels)).astype(np.int32)
    start = rng.integers(3, 40, shared).tolist()
    return codes, [start + rng.integers(3, 40, rng.integers(1, 9)).tolist() for _ in range(prompts)]


@torch.inference_mode()
def every_score(model: Any, prompt: list[int], trie: Trie, ids: list[np.ndarray]) -> np.ndarray:
    """Log-probability of each leaf, each scored by a forward pass of its own."""
    scores = []
    for codes in trie.leaf_codes:
        answer = [int(ids[level][code]) for level, code in enumerate(codes)]
        logits = model(torch.tensor([prompt + answer])).logits[0].float().log_softmax(-1)
        scores.append(sum(float(logits[len(prompt) - 1 + n, token]) for n, token in enumerate(answer)))
    return np.asarray(scores)
