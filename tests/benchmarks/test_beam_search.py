"""Beam search compared with Hugging Face ``generate`` and ``prefix_allowed_tokens_fn``: same lists, time, memory.

20 beams, 12,000 items of 3 x 256 codes, prompts of 80 tokens of which 30 are shared, vocabulary 32,000, a random model
of 6 layers and width 256 in float32. Each side runs in a separate process, so that peak memory is measured separately,
and with the batch size that suits it best: 2 to 8 users are equally fast with ``generate``, 32 are best with gti.
Run with ``pytest tests/benchmarks/test_beam_search.py --run-benchmarks -s``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

BEAMS, ITEMS, LEVELS, CODES = 20, 12_000, 3, 256
PROMPT, SHARED, VOCAB = 80, 30, 32_000
USERS, BATCH = 64, 32
PEER_USERS, PEER_BATCH = 8, 4
FASTER, LEANER = 12, 2
# Multiplications that every such search needs: a prompt's own tokens and two levels of beams go through the layers
# (queries, keys, values, output, three matrices of the MLP); the last prompt token and two levels of beams go through
# the output head.
_LAYER = 256 * (256 + 128 + 128 + 256 + 3 * 768)
FLOOR = (PROMPT - SHARED + 2 * BEAMS) * 6 * _LAYER + (1 + 2 * BEAMS) * 256 * VOCAB


def make_case() -> tuple[Any, list[list[int]], np.ndarray, list[np.ndarray]]:
    """Make the model, the prompts, the codes (ITEMS, LEVELS), and the token ids of each level."""
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
    return model, prompts, codes, ids


def peer() -> Any:
    """Search with ``generate``: lists of token triples, seconds, bytes."""
    import torch

    model, prompts, codes, ids = make_case()
    allowed: dict[tuple[int, ...], list[int]] = {}
    answers = np.stack([ids[level][codes[:, level]] for level in range(LEVELS)], axis=1)
    for answer in answers.tolist():
        for length in range(LEVELS):
            following = allowed.setdefault(tuple(answer[:length]), [])
            if answer[length] not in following:
                following.append(answer[length])

    def work() -> list[list[list[int]]]:
        found: list[list[list[int]]] = []
        with torch.inference_mode():
            for start in range(0, PEER_USERS, PEER_BATCH):
                batch = torch.tensor(prompts[start : start + PEER_BATCH])
                out = model.generate(
                    batch,
                    attention_mask=torch.ones_like(batch),
                    num_beams=BEAMS,
                    num_return_sequences=BEAMS,
                    max_new_tokens=LEVELS,
                    min_new_tokens=LEVELS,
                    do_sample=False,
                    length_penalty=0.0,
                    eos_token_id=None,
                    pad_token_id=0,
                    prefix_allowed_tokens_fn=lambda _, sequence: allowed[tuple(sequence[PROMPT:].tolist())],
                )
                found += out[:, PROMPT:].view(len(batch), BEAMS, LEVELS).tolist()
        return found

    return measured(work)


def ours() -> Any:
    """Search with `search_all`: lists of token triples, seconds, bytes."""
    import torch

    from gti_cli import console
    from gti_cli.decoding.beam import TrieTensors
    from gti_cli.decoding.beam_batches import search_all
    from gti_cli.decoding.trie import build_trie

    console.configure(quiet=True)
    model, prompts, codes, ids = make_case()
    trie = build_trie(codes)
    tensors = TrieTensors(trie, ids, torch.device("cpu"))

    def work() -> list[list[list[int]]]:
        ranking = search_all(model, prompts, tensors, BEAMS, pad_id=0, batch_size=BATCH, description="")
        leaves = trie.leaf_codes[ranking.leaves]
        return np.stack([ids[level][leaves[..., level]] for level in range(LEVELS)], axis=-1).tolist()

    return measured(work)


def measured(work: Any) -> Any:
    """Run ``work``: its result, seconds on one thread, growth of peak memory in bytes.

    The seconds are processor time, the best of four runs, so that other work on the machine and the preparations of the
    first call do not count.
    """
    import torch

    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = []
    for _ in range(4):
        started = time.process_time()
        found = work()
        taken.append(time.process_time() - started)
    return found, min(taken), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def in_a_process(side: str) -> Any:
    """Run this file with the argument ``side`` and return what `measured` returned there."""
    done = subprocess.run([sys.executable, __file__, side], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def product_rate() -> float:
    """Measure multiplications per second of one thread in a matrix product of a layer's size; the best of 20."""
    import torch

    torch.set_num_threads(1)
    rows, matrix = torch.randn(640, 256), torch.randn(768, 256)
    taken = []
    for _ in range(20):
        started = time.process_time()
        torch.nn.functional.linear(rows, matrix)
        taken.append(time.process_time() - started)
    return 640 * 256 * 768 / min(taken)


def test_faster_and_leaner_than_generate() -> None:
    theirs, their_seconds, their_bytes = in_a_process("peer")
    mine, my_seconds, my_bytes = in_a_process("ours")
    their_rate, my_rate = PEER_USERS / their_seconds, USERS / my_seconds
    print(
        f"\ngenerate {their_rate:.2f} users/s, {their_bytes / 2**20:.0f} MiB; "
        f"gti {my_rate:.2f} users/s, {my_bytes / 2**20:.0f} MiB; "
        f"{my_rate / their_rate:.1f} times as fast, {their_bytes / my_bytes:.1f} times leaner; "
        f"the matrix products that no search can spare are {my_rate * FLOOR / product_rate():.0%} of our time"
    )
    assert mine[:PEER_USERS] == theirs
    assert my_rate / their_rate >= FASTER
    assert their_bytes / my_bytes >= LEANER


if __name__ == "__main__":
    print(json.dumps({"peer": peer, "ours": ours}[sys.argv[1]]()))
