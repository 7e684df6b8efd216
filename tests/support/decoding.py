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
def prefix_scores(
    model: Any, prompt: list[int], trie: Trie, ids: list[np.ndarray]
) -> list[dict[tuple[int, ...], float]]:
    """Log-probability of each prefix of 0 … L codes, without a cache and without padding."""
    leaves = trie.leaf_codes.tolist()
    answers = torch.tensor([[int(ids[level][code]) for level, code in enumerate(leaf)] for leaf in leaves])
    rows = torch.cat([torch.tensor([prompt]).expand(len(answers), -1), answers], dim=1)
    logits = model(rows).logits[:, len(prompt) - 1 : -1].double().log_softmax(-1)
    sums = logits.gather(2, answers[..., None])[..., 0].cumsum(1)
    scores: list[dict[tuple[int, ...], float]] = [{(): 0.0}]
    for length in range(1, trie.levels + 1):
        scores.append(dict(zip((tuple(leaf[:length]) for leaf in leaves), sums[:, length - 1].tolist(), strict=True)))
    return scores


def every_score(model: Any, prompt: list[int], trie: Trie, ids: list[np.ndarray]) -> np.ndarray:
    """Log-probability of each leaf, as `prefix_scores` finds it."""
    of_leaves = prefix_scores(model, prompt, trie, ids)[-1]
    return np.asarray([of_leaves[tuple(leaf)] for leaf in trie.leaf_codes.tolist()])
