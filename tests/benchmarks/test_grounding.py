"""Grounding compared with a masked gradient and PEFT's trainable tokens: same model, examples and loss, one thread.

Run with ``pytest tests/benchmarks/test_grounding.py --run-benchmarks -s``; prints the ratios.
"""

from __future__ import annotations

import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import Example, collate

WIDTH, LAYERS, CODES, LEVELS, BATCH, STEPS = 256, 6, 1024, 4, 32, 2


def model_of(vocab: int) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen3",
        vocab_size=vocab + CODES,
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
        max_position_embeddings=512,
    )
    return AutoModelForCausalLM.from_config(config).float().eval()


def examples_of(vocab: int, mixed: bool) -> list[Example]:
    """Make prompts of 48 tokens, 30 of them a template; the other direction gives 4 tokens and answers with 16."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(BATCH):
        text, tokens = rng.integers(100, vocab, 16).tolist(), (vocab + rng.integers(0, CODES, LEVELS)).tolist()
        if mixed and n % 2:
            found.append(Example([*range(40, 68), *tokens, 3, 4], [*text, 2]))
        else:
            found.append(Example([*range(10, 40), *text, 3, 4], [*tokens, 2]))
    return found


def masked(vocab: int, examples: list[Example]) -> Any:
    """Prepare a step of Algorithm 1 as released: the gradient of the whole matrix is computed, then masked."""
    model = model_of(vocab)
    model.requires_grad_(False)
    weight = model.get_input_embeddings().weight.requires_grad_(True)
    optimizer = torch.optim.AdamW([weight], lr=1e-3, weight_decay=0.0)
    batch = collate(examples, 0)

    def step() -> float:
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        weight.grad[:vocab] = 0
        optimizer.step()
        return float(loss.detach())

    return step


def peft_tokens(vocab: int, examples: list[Example]) -> Any:
    """Prepare a step with PEFT's trainable tokens."""
    from peft import TrainableTokensConfig, get_peft_model

    config = TrainableTokensConfig(token_indices=list(range(vocab, vocab + CODES)), task_type="CAUSAL_LM")
    model: Any = get_peft_model(model_of(vocab), config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0)
    batch = collate(examples, 0)

    def step() -> float:
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def ours(vocab: int, examples: list[Example]) -> Any:
    model = model_of(vocab)
    ids = torch.arange(vocab, vocab + CODES)
    kinds = [int(example.prompt[0] == 40) for example in examples]
    corpus = divide_examples(examples, kinds, kinds, set(ids.tolist()))
    rows = NewRows(model, ids)
    trained, collator = GroundingModel(model, rows, corpus.prefixes), Collator(corpus, 0)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-3, weight_decay=0.0)
    attached = rows.attached()
    attached.__enter__()

    def step() -> float:
        optimizer.zero_grad()
        loss, count = trained(**collator(range(len(examples))))
        (loss / count).backward()
        optimizer.step()
        return float((loss / count).detach())

    step.keep = attached  # type: ignore[attr-defined]
    return step


WAYS = {"masked gradient": masked, "peft trainable tokens": peft_tokens, "gti": ours}


def floor(vocab: int, mixed: bool) -> float:
    """Compute the least seconds for a step: its matrix operations at the machine's measured rate (float32, one thread).

    Each position needs a forward pass and, where a gradient passes, a backward pass to the hidden states (frozen
    weights need no gradient). The logits of supervised positions need a forward pass, a backward pass to the hidden
    states and one to the new rows. Attention scores, norms, softmax and optimizer are left out, so the floor cannot be
    reached.
    """
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    a @ b
    started = time.process_time()
    for _ in range(10):
        a @ b
    rate = 10 * 2 * 1024**3 / (time.process_time() - started)
    body = LAYERS * (2 * WIDTH * 4 * 64 + 2 * WIDTH * 2 * 64 + 3 * WIDTH * 3 * WIDTH)  # weights without the embeddings
    to_tokens, to_text = (
        (47, 1 + LEVELS, LEVELS + 1),
        (28, LEVELS + 2 + 16, 17),
    )  # positions: frozen, with gradient, supervised
    kinds = [to_tokens, to_text] if mixed else [to_tokens]
    operations = 0.0
    for frozen, live, supervised in kinds:
        logits = supervised * (2 * 2 * (vocab + CODES) * WIDTH + 2 * CODES * WIDTH)
        operations += BATCH / len(kinds) * (2 * body * frozen + 4 * body * live + logits)
    return operations / rate


def measure(way: str, vocab: int, mixed: bool) -> tuple[float, float, list[float], float]:
    """Measure CPU seconds a step, MB beyond model and libraries, losses and the floor; runs in a separate process."""
    torch.set_num_threads(1)
    examples = examples_of(vocab, mixed)
    step = WAYS[way](vocab, examples)
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak, which building the model has raised
    base = memory("VmRSS")
    losses = [step()]
    started = time.process_time()
    losses += [step() for _ in range(STEPS)]
    seconds = (time.process_time() - started) / STEPS
    return seconds, memory("VmHWM") - base, losses, floor(vocab, mixed)


def memory(name: str) -> float:
    """Read a figure of this process's status, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("mixed", [False, True], ids=["text-to-tokens", "both"])
@pytest.mark.parametrize("vocab", [32_000, 151_936])
def test_against_peers(vocab: int, mixed: bool) -> None:
    found = {}
    for way in WAYS:
        with get_context("spawn").Pool(1) as pool:
            found[way] = pool.apply(measure, (way, vocab, mixed))
    seconds, mine, losses, least = found["gti"]
    print(f"\nvocabulary {vocab:,}, {'both directions' if mixed else 'text -> tokens'}, batch {BATCH}")
    for way, (time_, peak, theirs, _) in found.items():
        ratios = f"{time_ / seconds:5.1f} x time, {peak / mine:5.1f} x memory, {least / time_:6.1%} of the floor"
        print(f"  {way:24} {time_:7.3f} s/step {peak:8.0f} MB   {ratios}")
        assert theirs == pytest.approx(losses, abs=2e-4)
    for way in ("masked gradient", "peft trainable tokens"):
        assert found[way][0] / seconds >= (3 if mixed else 5), way
        assert mine / found[way][1] <= 0.5, way
