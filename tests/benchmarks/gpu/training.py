"""Fine-tuning: targets a second, and the share of the card's rate in matrix products, with and without passes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device

from gti_cli.prompts.next_item import Frame
from gti_cli.training.adamw import adamw
from gti_cli.training.answer_loss import answer_loss
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.training.batches.history_packing import HistoryLayout, equal_cost_length
from gti_cli.training.batches.mixture import ExampleCollator
from gti_cli.training.batches.passes import PassLimit, collate_passes
from gti_cli.training.micro_batch import choose_micro_batch
from gti_cli.training.model_head import ModelHead, find_model_head
from tests.benchmarks.gpu.setting import Setting, read_setting, row

ITEMS, LEVELS = 10_000, 4


def collator_of(setting: Setting, width: int) -> ExampleCollator:
    """Prompts of 45 tokens before a history and 5 behind it, items of 4 codes."""
    rng = np.random.default_rng(0)
    codes = setting.vocabulary + np.arange(LEVELS) * 256 + rng.integers(0, 256, (ITEMS, LEVELS))
    frame = Frame(list(range(10, 55)), list(range(60, 65)))
    return ExampleCollator(HistoryLayout(frame, codes, 2, 0, equal_cost_length=equal_cost_length(width)))


def step_of(targets: int, seed: int) -> list[HistoryExample]:
    """Histories of 3 to 20 items that make so many targets."""
    rng = np.random.default_rng(seed)
    examples: list[HistoryExample] = []
    while targets > 0:
        length = min(int(rng.integers(3, 21)), targets + 1)
        examples.append(HistoryExample(tuple(rng.integers(0, ITEMS, length).tolist()), 1))
        targets -= length - 1
    return examples


class Run:
    """A model that trains.

    Attributes:
        tokens: Tokens that went through the model, padding included.
        answers: Positions whose logits were computed.
    """

    def __init__(self, setting: Setting, collator: ExampleCollator, model: Any, head: ModelHead | None) -> None:
        self._setting, self._collator, self._model = setting, collator, model
        self.loss = partial(answer_loss, head=head)
        self._optimizer = adamw(model, 1e-5)
        self.tokens = self.answers = 0

    def step(self, examples: list[HistoryExample], limit: PassLimit) -> None:
        """Take a step, as the Trainer does."""
        setting = self._setting
        batch = collate_passes(self._collator, examples, limit)
        passes = batch.get("passes", [batch])
        terms = sum(int((part["targets"] >= 0).sum()) for part in passes)
        for part in passes:
            self.tokens += part["input_ids"].numel()
            with torch.autocast(setting.device.type, torch.bfloat16, enabled=setting.device.type == "cuda"):
                loss, _ = self.loss(self._model, send_to_device(part, setting.device))
            (loss / terms).backward()
        self.answers += terms
        self._optimizer.step()
        self._optimizer.zero_grad()

    def operations(self) -> float:
        """Operations of all steps: 6 for each weight and token, the head's at the answers; attention is not counted."""
        embedding = self._model.get_input_embeddings().weight.numel()
        others = sum(weight.numel() for weight in self._model.parameters()) - embedding
        return 6.0 * (others * self.tokens + embedding * self.answers)


def main(setting: Setting) -> None:
    """Measure steps of 128 and of 1,024 targets: as finetune divides them, in one pass, and with all logits."""
    rate = setting.product_rate()
    row("fine-tuning", "matrix products", operations_per_second=rate)
    model = setting.model(torch.float32)
    collator = collator_of(setting, model.config.hidden_size)
    head = find_model_head(model)
    model.train()
    chosen = choose_micro_batch(
        model,
        partial(answer_loss, head=head),
        collator,
        step_of(64, 0),
        setting.device,
        autocast=setting.device.type == "cuda",
    )
    row("fine-tuning", "passes chosen", **chosen.recorded())
    ways = {
        "passes, head in chunks": (chosen.limit, head),
        "one pass, head in chunks": (PassLimit(), head),
        "one pass, all logits": (PassLimit(), None),
    }
    for targets in (setting.pick(128, 16), setting.pick(1024, 32)):
        steps = [step_of(targets, seed) for seed in range(setting.pick(6, 2))]
        for name, (limit, of_way) in ways.items():
            run = Run(setting, collator, model, of_way)
            run.step(steps[0], limit)  # makes the averages of AdamW
            setting.reset_peak()
            run.tokens = run.answers = 0
            started = setting.now()
            for examples in steps:
                run.step(examples, limit)
            seconds = setting.now() - started
            row(
                "fine-tuning",
                f"{name}, {targets} targets in a step",
                targets_per_second=targets * len(steps) / seconds,
                tokens_per_second=run.tokens / seconds,
                share=run.operations() / seconds / rate,
                bytes=setting.peak(),
            )
            del run


if __name__ == "__main__":
    main(read_setting())
