"""Fine-tuning with history trees, one or several in a row, beside a plain ``transformers.Trainer``.

The plain one has a padded example for each target.

Real histories and a small language model where this machine has them (``GTI_SHARED``, a folder with ``data/beauty`` and
``models/tiny-lm``), else histories and a random model of the same shape. Each side runs in a process of its own, on one
thread, over the same targets. Run with ``pytest tests/benchmarks/test_training.py --run-benchmarks -s``.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections import defaultdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZES = [256, 256, 256, 256]
BATCH = 64  # targets in a step
# History cap -> at least so many times the targets per second, of the plain trainer and of one tree in a row.
FLOORS = {3: (3, 1.2), 10: (3, 0.9), 50: (6, 0.9)}
TARGETS = 384
ROUNDS = 3


def shared(*parts: str) -> Path | None:
    """A folder of ``GTI_SHARED``, if it is there."""
    path = Path(os.environ.get("GTI_SHARED", "")).joinpath(*parts)
    return path if "GTI_SHARED" in os.environ and path.exists() else None


def histories(cap: int) -> list[list[int]]:
    """Histories as long as the cap allows, of about `TARGETS` targets in all: this is what the cap costs."""
    rng = np.random.default_rng(0)
    table = shared("data", "beauty", "interactions.parquet")
    if table is None:
        return [rng.integers(0, 1000, cap + 1).tolist() for _ in range(TARGETS // cap)]
    from gti_cli import tables

    rows = tables.read(table)
    users: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    number: dict[str, int] = {}
    for user, item, when in zip(
        *(rows.column(c).to_pylist() for c in ("user_id", "item_id", "timestamp")), strict=True
    ):
        users[user].append((when, number.setdefault(item, len(number))))
    long = [[item for _, item in sorted(seen)][: cap + 1] for seen in users.values() if len(seen) > cap]
    return [long[n] for n in rng.permutation(len(long))[: TARGETS // cap]]


def case(cap: int) -> tuple[Any, Any, list[Any]]:
    """Model (float32, with rows for the codes), layout and history examples."""
    import torch
    from transformers import AddedToken, AutoConfig, AutoModelForCausalLM

    from gti_cli.checkpoints.loading import load_model, load_tokenizer
    from gti_cli.checkpoints.new_tokens import NewTokens
    from gti_cli.checkpoints.token_names import all_names, semantic_id
    from gti_cli.prompts.chat import end_of_turn
    from gti_cli.prompts.next_item import encode_items, make_frame
    from gti_cli.training.batches.history_examples import history_examples
    from gti_cli.training.batches.history_packing import HistoryLayout
    from tests.support.models import make_tokenizer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = shared("models", "tiny-lm")
    tokenizer = load_tokenizer(str(folder)) if folder else make_tokenizer()
    old = len(tokenizer) if folder else 8192
    names = all_names(SIZES)
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in names])
    if folder:
        model: Any = load_model(str(folder), torch.device("cpu"), torch.float32)
        model.resize_token_embeddings(old + len(names), mean_resizing=False)
    else:
        shape = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "head_dim": 64}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
        config = AutoConfig.for_model("qwen3", vocab_size=old + len(names), **shape, **heads)
        model = AutoModelForCausalLM.from_config(config).float()
    found = histories(cap)
    ids = np.asarray(tokenizer.convert_tokens_to_ids(names), np.int64)
    new = NewTokens(
        names, ids, np.repeat(np.arange(4), SIZES).astype(np.int32), np.tile(np.arange(256), 4).astype(np.int32)
    )
    codes = np.random.default_rng(1).integers(0, 256, (1 + max(map(max, found)), 4))
    items = encode_items(tokenizer, [semantic_id(row) for row in codes], new)
    layout = HistoryLayout(
        make_frame(tokenizer, semantic_id(codes[0])), items, end_of_turn(tokenizer), int(tokenizer.pad_token_id)
    )
    return model.eval(), layout, [example for items in found for example in history_examples(items, cap)]


def plain(model: Any, layout: Any, tree_examples: Any, folder: str) -> tuple[Any, float]:
    """One example for each target, filled up to the longest of its batch: what a training script does."""
    import torch
    from transformers import Trainer, TrainingArguments

    from gti_cli.prompts.examples import Example, collate
    from gti_cli.training.batches.history_examples import single_target_examples

    examples = []
    for example in (single for several in tree_examples for single in single_target_examples(several)):
        *seen, target = example.items
        prompt = layout.frame.prompt(layout.item_token_ids[seen].tolist())
        examples.append(Example(prompt, [*layout.item_token_ids[target].tolist(), layout.end_id]))
    arguments = TrainingArguments(
        folder, num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-4, use_cpu=True, report_to=[]
    )
    arguments.set_save(strategy="no")
    arguments.remove_unused_columns, arguments.disable_tqdm = False, True
    trainer = Trainer(
        model=model, args=arguments, train_dataset=examples, data_collator=lambda batch: collate(batch, layout.pad_id)
    )
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(examples), BATCH):
            batch = collate(examples[start : start + BATCH], layout.pad_id)
            total += float(model(**batch).loss) * len(examples[start : start + BATCH])
    return trainer, total / len(examples)


def trees(model: Any, layout: Any, tree_examples: Any, folder: str) -> tuple[Any, float]:
    """Each user's prefixes as one tree, in a row of its own."""
    import torch

    from gti_cli.training.adamw import adamw
    from gti_cli.training.answer_loss import answer_loss, mean_loss, supports_tree_mask
    from gti_cli.training.arguments import training_arguments
    from gti_cli.training.batches.batch_plan import BatchPlan
    from gti_cli.training.trainer import PlannedTrainer

    assert supports_tree_mask(model, layout, tree_examples, torch.device("cpu"))
    lengths, targets = (
        [layout.token_count(example) for example in tree_examples],
        [example.target_count for example in tree_examples],
    )
    plan = BatchPlan(lengths, targets, size=BATCH, epochs=1, max_steps=None, seed=0)
    arguments = training_arguments(
        Path(folder),
        epochs=1,
        max_steps=len(plan),
        batch_size=BATCH,
        learning_rate=1e-4,
        seed=0,
        device=torch.device("cpu"),
    )
    arguments.set_save(strategy="no")
    loss = mean_loss(model, layout, tree_examples, max(BATCH // tree_examples[0].target_count, 1), torch.device("cpu"))

    def gather(numbers: Any) -> Any:
        return layout.collate([tree_examples[number] for number in numbers])

    return PlannedTrainer(model, arguments, gather, plan, len(tree_examples), adamw(model, 1e-4), answer_loss), loss


def rows(model: Any, layout: Any, tree_examples: Any, folder: str) -> tuple[Any, float]:
    """Several trees behind one copy of the question: what ``gti finetune`` does."""
    from dataclasses import replace

    from gti_cli.training.batches.history_packing import equal_cost_length

    return trees(
        model, replace(layout, equal_cost_length=equal_cost_length(model.config.hidden_size)), tree_examples, folder
    )


WAYS = {"plain trainer": plain, "history trees": trees, "trees in rows": rows}


def measure(way: str, cap: int) -> tuple[float, float, float, int]:
    """(targets per CPU second, MB beyond model and libraries, loss before training, targets)."""
    from transformers import PrinterCallback

    model, layout, tree_examples = case(cap)
    with tempfile.TemporaryDirectory() as folder:
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        trainer, loss = WAYS[way](model, layout, tree_examples, folder)
        trainer.remove_callback(PrinterCallback)
        started = time.process_time()
        trainer.train()
        seconds = time.process_time() - started
    targets = sum(example.target_count for example in tree_examples)
    return targets / seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024, loss, targets


@pytest.mark.parametrize("cap", FLOORS)
def test_history_trees_against_separate_examples(cap: int) -> None:
    # The ways take turns, and each counts with its median: a single measurement is off by up to 20 % on a shared
    # machine.
    runs: dict[str, list[tuple[float, float, float, int]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            with get_context("spawn").Pool(1) as pool:
                runs[way].append(pool.apply(measure, (way, cap)))
    found = {way: sorted(measured)[ROUNDS // 2] for way, measured in runs.items()}
    rate, memory, loss, targets = found["trees in rows"]
    data = "real histories" if shared("data", "beauty") else "made histories"
    print(f"\nhistory cap {cap}, {targets} targets, {data}")
    for way, (theirs, peak, its_loss, its_targets) in found.items():
        print(f"  {way:14} {theirs:8.1f} targets/s {peak:7.0f} MB   loss {its_loss:.5f}")
        assert its_loss == pytest.approx(loss, abs=2e-4) and its_targets == targets
    (slow, large), single = found["plain trainer"][:2], found["history trees"][0]
    print(
        f"  {rate / slow:.1f} x targets per second, {large / memory:.1f} x memory; {rate / single:.2f} x one tree a row"
    )
    assert rate / slow >= FLOORS[cap][0] and rate / single >= FLOORS[cap][1]
    assert memory < large
