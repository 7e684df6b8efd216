"""Exact scores of 200 candidates a user, compared with forward passes over every candidate: same scores, time.

12,000 items of 4 x 256 codes, prompts of 140 tokens (20 items and the template, of which 40 tokens are shared),
vocabulary 32,000, a random model of 6 layers and width 256 in float32. Candidates are drawn at random, so that they
share as few prefixes as can be. Two peers, each with the logits of the answer's tokens alone:

- plain: prompt and candidate in one row, right-padded batches, a forward pass over all of it.
- cached: the prompt is read once for a user, and its keys and values are repeated for all candidates.

Each side runs in a separate process. Run with ``pytest tests/benchmarks/test_candidate_scores.py --run-benchmarks -s``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ITEMS, LEVELS, CODES, CANDIDATES = 12_000, 4, 256, 200
PROMPT, SHARED, VOCAB = 140, 40, 32_000
USERS, PLAIN_USERS, PLAIN_BATCH = 12, 1, 16
FASTER = 20


def make_case() -> tuple[Any, list[list[int]], np.ndarray, list[np.ndarray], np.ndarray]:
    """The model, the prompts, the codes (ITEMS, LEVELS), the token ids of each level, and rows (USERS, CANDIDATES)."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen3",
        vocab_size=VOCAB,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        tie_word_embeddings=True,
        initializer_range=0.1,
    )
    model = AutoModelForCausalLM.from_config(config).float().eval()
    rng = np.random.default_rng(0)
    codes = np.unique(rng.integers(0, CODES, (2 * ITEMS, LEVELS)), axis=0)
    codes = rng.permutation(codes)[:ITEMS].astype(np.int32)
    first = VOCAB - LEVELS * CODES
    ids = [np.arange(first + level * CODES, first + (level + 1) * CODES) for level in range(LEVELS)]
    shared = rng.integers(3, first, SHARED).tolist()
    prompts = [shared + rng.integers(3, first, PROMPT - SHARED).tolist() for _ in range(USERS)]
    rows = np.stack([rng.permutation(ITEMS)[:CANDIDATES] for _ in range(USERS)])
    return model, prompts, codes, ids, rows


def by_peer(score_user: Callable[[Any, list[int], Any], Any], users: int) -> Any:
    """Scores of the first users, and seconds for a user, with a function of model, prompt and answers."""
    import torch

    model, prompts, codes, ids, rows = make_case()
    answers = np.stack([ids[level][codes[:, level]] for level in range(LEVELS)], axis=1)

    def work() -> list[list[float]]:
        with torch.inference_mode():
            return [
                score_user(model, prompts[user], torch.from_numpy(answers[rows[user]])).tolist()
                for user in range(users)
            ]

    return measured(work, users)


def picked(logits: Any, answers: Any) -> Any:
    """Sum of the answers' log-probabilities from the logits before each of their tokens."""
    return logits.log_softmax(-1).gather(2, answers[..., None]).sum((1, 2))


def plain(model: Any, prompt: list[int], answers: Any) -> Any:
    """Scores of one user's candidates, from rows of prompt and candidate."""
    import torch

    sequences = torch.cat([torch.tensor([prompt] * len(answers)), answers[:, :-1]], dim=1)
    return torch.cat(
        [
            picked(model(input_ids=batch, logits_to_keep=LEVELS).logits, answer)
            for batch, answer in zip(sequences.split(PLAIN_BATCH), answers.split(PLAIN_BATCH), strict=True)
        ]
    )


def cached(model: Any, prompt: list[int], answers: Any) -> Any:
    """Scores of one user's candidates, from the prompt's keys and values, repeated."""
    import torch

    read = model(input_ids=torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
    cache = read.past_key_values
    cache.batch_repeat_interleave(len(answers))
    logits = model(input_ids=answers[:, :-1], past_key_values=cache).logits
    return picked(torch.cat([read.logits.expand(len(answers), -1, -1), logits], dim=1), answers)


def ours() -> Any:
    """Scores and seconds of `score_items`."""
    import torch

    from gti_cli import console
    from gti_cli.decoding.beam import TrieTensors
    from gti_cli.decoding.candidate_scores import CandidateLists, score_items
    from gti_cli.decoding.trie import build_trie

    console.configure(quiet=True)
    model, prompts, codes, ids, rows = make_case()
    tensors = TrieTensors(build_trie(codes), ids, torch.device("cpu"))
    candidates = CandidateLists.of(rows.tolist())
    return measured(lambda: score_items(model, prompts, tensors, candidates).reshape(USERS, -1).tolist(), USERS)


def measured(work: Callable[[], Any], users: int) -> Any:
    """Run ``work``: its result, and seconds of processor time for a user on one thread, the best of three runs."""
    import torch

    torch.set_num_threads(1)
    taken = []
    for _ in range(3):
        started = time.process_time()
        found = work()
        taken.append(time.process_time() - started)
    return found, min(taken) / users


SIDES = {"plain": lambda: by_peer(plain, PLAIN_USERS), "cached": lambda: by_peer(cached, 4), "ours": ours}


def in_a_process(side: str) -> Any:
    """Run this file with the argument ``side`` and return what `measured` returned there."""
    done = subprocess.run([sys.executable, __file__, side], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_faster_than_a_forward_pass_for_each_candidate() -> None:
    scores, seconds = in_a_process("ours")
    peers = {name: in_a_process(name) for name in ("plain", "cached")}
    for name, (their_scores, their_seconds) in peers.items():
        np.testing.assert_allclose(scores[: len(their_scores)], their_scores, atol=2e-3)
        print(
            f"\n{name} {their_seconds:.2f} s a user; gti {seconds:.2f} s: {their_seconds / seconds:.1f} times as fast"
        )
    assert peers["plain"][1] / seconds >= FASTER


if __name__ == "__main__":
    print(json.dumps(SIDES[sys.argv[1]]()))
