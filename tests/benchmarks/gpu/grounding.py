"""Grounding beside a masked gradient and PEFT's trainable tokens: the same model, examples and loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import Example, collate
from tests.benchmarks.gpu.setting import CODES, Setting, read_setting, row

LEVELS = 4
Step = Callable[[], float]


def examples_of(setting: Setting) -> list[Example]:
    """Prompts of 48 tokens, 30 of them a template, with answers of 4 codes and an end."""
    rng = np.random.default_rng(0)
    vocabulary = setting.vocabulary
    return [
        Example(
            [*range(10, 40), *rng.integers(100, vocabulary, 16).tolist(), 3, 4],
            [*(vocabulary + rng.integers(0, CODES, LEVELS)).tolist(), 2],
        )
        for _ in range(setting.pick(128, 8))
    ]


def plain_step(setting: Setting, model: Any, parameters: list[Any], examples: list[Example], frozen: int) -> Step:
    """A step over the model's own logits, in which the gradient of the first ``frozen`` rows is set to 0."""
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    batch = {name: value.to(setting.device) for name, value in collate(examples, 0).items()}

    def step() -> float:
        """Take a step; returns its loss."""
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        if frozen:
            parameters[0].grad[:frozen] = 0
        optimizer.step()
        return float(loss.detach())

    return step


def masked(setting: Setting, examples: list[Example]) -> Step:
    """Algorithm 1 as released: the gradient of the whole matrix is computed, then masked."""
    model = setting.model(setting.dtype).requires_grad_(False)
    weight = model.get_input_embeddings().weight.requires_grad_(True)
    return plain_step(setting, model, [weight], examples, setting.vocabulary)


def peft_tokens(setting: Setting, examples: list[Example]) -> Step:
    """PEFT's trainable tokens."""
    from peft import TrainableTokensConfig, get_peft_model

    ids = list(range(setting.vocabulary, setting.vocabulary + CODES))
    config = TrainableTokensConfig(token_indices=ids, task_type="CAUSAL_LM")
    model: Any = get_peft_model(setting.model(setting.dtype), config)
    return plain_step(setting, model, [p for p in model.parameters() if p.requires_grad], examples, 0)


def ours(setting: Setting, examples: list[Example]) -> Step:
    """`gti ground`."""
    model = setting.model(setting.dtype)
    ids = torch.arange(setting.vocabulary, setting.vocabulary + CODES)
    corpus = divide_examples(examples, [0] * len(examples), [0] * len(examples), set(ids.tolist()))
    rows = NewRows(model, ids)
    trained, collator = GroundingModel(model, rows, corpus.prefixes), Collator(corpus, 0)
    trained.to(setting.device)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-3, weight_decay=0.0)
    attached = rows.attached()
    attached.__enter__()

    def step() -> float:
        """Take a step; returns its loss."""
        from accelerate.utils import send_to_device

        optimizer.zero_grad()
        loss, count = trained(**send_to_device(collator(range(len(examples))), setting.device))
        (loss / count).backward()
        optimizer.step()
        return float((loss / count).detach())

    step.keep = attached  # type: ignore[attr-defined]
    return step


def main(setting: Setting) -> None:
    """Measure the three ways, gti first."""
    examples = examples_of(setting)
    mine, first = 0.0, 0.0
    for name, way in (("gti ground", ours), ("masked gradient", masked), ("PEFT trainable tokens", peft_tokens)):
        before = setting.reset_peak()
        step = way(setting, examples)
        loss = step()
        seconds = setting.seconds(step, setting.pick(10, 2))
        mine, first = mine or seconds, first or loss
        beside = {} if way is ours else {"gti_is_faster_by": seconds / mine}
        row("grounding", name, seconds=seconds, bytes=setting.peak() - before, first_loss=loss, **beside)
        if abs(loss - first) > (0.05 if setting.dtype == torch.bfloat16 else 1e-3):
            raise SystemExit(f"{name}: the first loss is {loss}, that of gti {first}")
        del step


if __name__ == "__main__":
    main(read_setting())
