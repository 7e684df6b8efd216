"""The trie constraint of the search: one step compared with STATIC's kernel, and a trie of 10 million IDs.

STATIC (Su et al., 2026, "Vectorizing the Trie") holds all transitions of the trie in one sparse matrix and reads the
rows of all hypotheses in one burst; for the second code it has a dense table by the first. The peer here is written
from that description. Both sides get the log-probabilities of the whole vocabulary. They return the codes that may
follow, their log-probabilities, and the next states. One thread, processor time. Run with ``pytest
tests/benchmarks/test_constraint.py --run-benchmarks -s``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.trie import build_trie
from tests.support.constraint_peers import Candidates, SparseRows, distinct, ours, triples

USERS, BEAMS, VOCAB, ITEMS = 32, 20, 32_000, 1_000_000
MANY = 10_000_000
SECONDS, MIB = 60, 2000  # limits for a trie of 10 million IDs


def milliseconds(*steps: Callable[[], Any]) -> list[float]:
    """Measure the processor time of each step; the best of 30 rounds, in which the steps alternate."""
    taken = [[] for _ in steps]
    for _ in range(30):
        for step, times in zip(steps, taken, strict=True):
            started = time.process_time()
            for _ in range(10):
                step()
            times.append((time.process_time() - started) / 10 * 1e3)
    return [min(times) for times in taken]


@pytest.mark.parametrize(("levels", "codes"), [(4, 256), (3, 2048)])
def test_step_beside_sparse_rows(levels: int, codes: int) -> None:
    torch.set_num_threads(1)
    ids = distinct(ITEMS, levels, codes)
    first_token = VOCAB - levels * codes
    trie = build_trie(ids)
    tokens = [np.arange(first_token + level * codes, first_token + (level + 1) * codes) for level in range(levels)]
    tensors, peer = TrieTensors(trie, tokens, torch.device("cpu")), SparseRows(ids, first_token, codes)
    log_probs = torch.randn(USERS * BEAMS, VOCAB).log_softmax(1)
    offset, worst = 1, 0.0
    for level in range(levels):
        count = len(trie.starts[level]) - 1
        nodes = torch.from_numpy(np.random.default_rng(level).integers(0, count, USERS * BEAMS))
        before = offset - count if level else 0  # the peer numbers states over all levels
        states, widest = nodes + before, peer.widest[level]
        steps: list[Callable[[], Candidates]] = [
            lambda level=level, nodes=nodes: ours(tensors, level, log_probs, nodes),
            lambda states=states, widest=widest: peer.sparse(log_probs, states, widest),
        ]
        if level == 1:
            first = torch.from_numpy(trie.codes[0])[nodes]
            steps.append(lambda first=first: peer.dense(log_probs, first))
        mine, *theirs = (triples(step(), 0 if number == 0 else offset) for number, step in enumerate(steps))
        for other in theirs:
            for left, right in zip(mine, other, strict=True):
                torch.testing.assert_close(left, right)
        my_time, *their_times = milliseconds(*steps)
        print(
            f"\n{levels} x {codes}, {ITEMS:,} items, code {level + 1}, {len(nodes)} hypotheses: gti {my_time:.2f} ms, "
            f"sparse rows {their_times[0]:.2f} ms"
            + (f", dense table {their_times[1]:.2f} ms" if level == 1 else "")
            + f"; {min(their_times) / my_time:.2f} times as fast",
            end="",
        )
        worst = max(worst, my_time / min(their_times))
        offset += len(trie.codes[level])
    print()
    assert worst <= 1


@pytest.mark.parametrize(("levels", "codes"), [(4, 256), (3, 2048)])
def test_ten_million_ids(levels: int, codes: int) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.test_constraint", str(levels), str(codes)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds, peak, leaves = map(float, done.stdout.split())
    print(f"\n{levels} x {codes}, {MANY:,} IDs: {seconds:.1f} s, {peak:.0f} MiB resident at the peak, all told")
    assert leaves == MANY
    assert seconds < SECONDS
    assert peak < MIB


def build() -> None:
    """Build a trie and print seconds, the peak memory of the whole process in MiB, and the number of leaves."""
    import resource

    levels, codes = map(int, sys.argv[1:])
    ids = distinct(MANY, levels, codes)
    started = time.process_time()
    trie = build_trie(ids)
    seconds = time.process_time() - started
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, trie.leaves)


if __name__ == "__main__":
    build()
