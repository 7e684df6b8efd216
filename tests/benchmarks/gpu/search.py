"""Evaluation's search beside ``generate`` with ``prefix_allowed_tokens_fn``: users a second, and the same lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gti_cli import console
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.beam_batches import search_all
from gti_cli.decoding.trie import build_trie
from tests.benchmarks.gpu.setting import Setting, read_setting, row

LEVELS, CODES, PROMPT, SHARED, BEAMS = 3, 256, 80, 30, 20


def generate(
    setting: Setting, model: Any, prompts: list[list[int]], answers: np.ndarray[Any, Any]
) -> list[list[list[int]]]:
    """The lists of ``generate``, as token ids."""
    allowed: dict[tuple[int, ...], dict[int, None]] = {}
    for answer in answers.tolist():
        for length in range(LEVELS):
            allowed.setdefault(tuple(answer[:length]), {})[answer[length]] = None
    following = {prefix: list(tokens) for prefix, tokens in allowed.items()}
    found: list[list[list[int]]] = []
    with torch.inference_mode():
        for start in range(0, len(prompts), 16):
            batch = torch.tensor(prompts[start : start + 16], device=setting.device)
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
                prefix_allowed_tokens_fn=lambda _, sequence: following[tuple(sequence[PROMPT:].tolist())],
            )
            found += out[:, PROMPT:].view(len(batch), BEAMS, LEVELS).tolist()
    return found


def main(setting: Setting) -> None:
    """Measure both."""
    console.configure(quiet=True)
    model = setting.model(setting.dtype)
    rng = np.random.default_rng(0)
    items = setting.pick(12_000, 500)
    codes = rng.permutation(np.unique(rng.integers(0, CODES, (2 * items, LEVELS)), axis=0))[:items].astype(np.int32)
    ids = [setting.vocabulary + level * CODES + np.arange(CODES) for level in range(LEVELS)]
    answers = np.stack([ids[level][codes[:, level]] for level in range(LEVELS)], axis=1)
    shared = rng.integers(3, setting.vocabulary, SHARED).tolist()
    users, peers = setting.pick(512, 8), setting.pick(32, 4)
    prompts = [shared + rng.integers(3, setting.vocabulary, PROMPT - SHARED).tolist() for _ in range(users)]
    trie = build_trie(codes)
    tensors = TrieTensors(trie, ids, setting.device)

    def ours() -> Any:
        """Search for all users."""
        return search_all(model, prompts, tensors, BEAMS, pad_id=0, batch_size=setting.pick(128, 8), description="")

    rates: list[float] = []
    for name, count, work in (
        ("gti evaluate", users, ours),
        ("generate, prefix_allowed_tokens_fn", peers, lambda: generate(setting, model, prompts[:peers], answers)),
    ):
        before = setting.reset_peak()
        rates.append(count / setting.seconds(work, 1))
        beside = {"gti_is_faster_by": rates[0] / rates[1]} if len(rates) > 1 else {}
        row("evaluation", name, users_per_second=rates[-1], bytes=setting.peak() - before, **beside)
    leaves = trie.leaf_codes[ours().leaves[:peers]]
    mine = np.stack([ids[level][leaves[..., level]] for level in range(LEVELS)], axis=-1).tolist()
    theirs = generate(setting, model, prompts[:peers], answers)
    same = sum(a == b for user in zip(mine, theirs, strict=True) for a, b in zip(*user, strict=True))
    row("evaluation", "places of the lists that are the same", share=same / (peers * BEAMS))


if __name__ == "__main__":
    main(read_setting())
