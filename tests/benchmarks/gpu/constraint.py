"""One constraint step of the search beside STATIC's, written from its description: sparse rows, and a dense table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.trie import build_trie
from tests.benchmarks.gpu.setting import Setting, read_setting, row
from tests.support.constraint_peers import Candidates, SparseRows, distinct, ours, triples

VOCABULARY = 32_000


def main(setting: Setting) -> None:
    """Measure every level of two tries of a million items, for 128 users with 20 beams."""
    hypotheses, items = setting.pick(128 * 20, 40), setting.pick(1_000_000, 2000)
    torch.manual_seed(0)
    log_probs = torch.randn(hypotheses, VOCABULARY, device=setting.device).log_softmax(1)
    for levels, codes in ((4, 256), (3, setting.pick(2048, 512))):
        ids = distinct(items, levels, codes)
        first = VOCABULARY - levels * codes
        trie = build_trie(ids)
        tokens = [np.arange(first + level * codes, first + (level + 1) * codes) for level in range(levels)]
        tensors = TrieTensors(trie, tokens, setting.device)
        peer = SparseRows(ids, first, codes, setting.device)
        offset = 1
        for level in range(levels):
            count = len(trie.starts[level]) - 1
            drawn = torch.from_numpy(np.random.default_rng(level).integers(0, count, hypotheses))
            nodes = drawn.to(setting.device)
            states, widest = nodes + (offset - count if level else 0), peer.widest[level]
            steps: dict[str, Callable[[], Candidates]] = {
                "gti": partial(ours, tensors, level, log_probs, nodes),
                "sparse rows": partial(peer.sparse, log_probs, states, widest),
            }
            if level == 1:
                codes_before = torch.from_numpy(trie.codes[0]).to(setting.device)[nodes]
                steps["dense table"] = partial(peer.dense, log_probs, codes_before)
            compare(setting, f"{levels} x {codes}, {items:,} items, code {level + 1}", steps, offset)
            offset += len(trie.codes[level])


def compare(setting: Setting, what: str, steps: dict[str, Callable[[], Candidates]], offset: int) -> None:
    """Measure the steps in turns, and see that their results are one."""
    mine, *others = (triples(step(), 0 if name == "gti" else offset) for name, step in steps.items())
    for other in others:
        for left, right in zip(mine, other, strict=True):
            torch.testing.assert_close(left, right)
    taken = {name: min(setting.seconds(step, 10) for _ in range(setting.pick(10, 1))) for name, step in steps.items()}
    figures = {f"{name.replace(' ', '_')}_ms": seconds * 1e3 for name, seconds in taken.items()}
    best = min(seconds for name, seconds in taken.items() if name != "gti")
    row("constraint", what, **figures, gti_is_faster_by=best / taken["gti"])


if __name__ == "__main__":
    main(read_setting())
