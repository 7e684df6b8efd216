"""Let TRL prepare exported rows, compare its tokens and its loss with those of `gti finetune`, and train some steps.

Run by `trl.sh`, with a Python that has TRL:

    python trl_tokens.py CHECKPOINT FOLDER NAME [STEPS]

FOLDER is the output of `expected_tokens.py`; it gets the trained model, ``trained``. NAME says in the output what
the checkpoint is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt-completion": ("prompt-completion.jsonl", {}),
    "messages, assistant_only_loss, --training-template": ("messages.jsonl", {"assistant_only_loss": True}),
    "messages, assistant_only_loss": ("messages.jsonl", {"assistant_only_loss": True}),
    "messages": ("messages.jsonl", {}),
}


def prepared(checkpoint: str, folder: Path, way: str, **more: Any) -> trl.SFTTrainer:
    """TRL's trainer, which has prepared the rows."""
    file, settings = WAYS[way]
    if "--training-template" in way:
        settings = {**settings, "chat_template_path": str(folder / "training.jinja")}
    rows = load_dataset("json", data_files=str(folder / file), cache_dir=str(folder / "cache"), split="train")
    config = trl.SFTConfig(
        output_dir=str(folder / "trainer"), max_length=None, report_to=[], use_cpu=True, bf16=False, **settings, **more
    )
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    return trl.SFTTrainer(
        model, args=config, train_dataset=rows, processing_class=AutoTokenizer.from_pretrained(checkpoint)
    )


def compare(rows: Any, expected: list[dict[str, Any]], decode: Any) -> str:
    """Count the rows with the same tokens and the same loss; show what else is trained on."""
    same = tokens = 0
    more: dict[str, int] = {}
    for row, wanted in zip(rows, expected, strict=True):
        ids, first = wanted["ids"], wanted["first"]
        labels = [-100] * first + ids[first:]
        tokens += row["input_ids"] == ids
        same += row["input_ids"] == ids and row["labels"] == labels
        if row["input_ids"] != ids or row["labels"] != labels:
            kind = _too(row, ids, first, decode)
            more[kind] = more.get(kind, 0) + 1
    also = "".join(f"; {count} rows train on {kind}" for kind, count in more.items())
    return f"{tokens} of {len(expected)} rows have the same tokens, {same} also the same loss{also}"


def _too(row: Any, ids: list[int], first: int, decode: Any) -> str:
    """What a row trains on beside the answer and the token that ends it."""
    trained = [n for n, label in enumerate(row["labels"]) if label != -100]
    if row["input_ids"][: len(ids)] != ids:
        return "other tokens"
    parts = ["the whole question" if trained[0] == 0 else repr(decode(ids[trained[0] : first]))] * (trained[0] < first)
    parts += [repr(decode(row["input_ids"][len(ids) :]))] * (trained[-1] >= len(ids))
    return " and ".join(parts) + ", too" if parts else "the same, with other tokens behind it"


def report(done: str, code: int, outcome: str) -> None:
    """Print a row of the table of `tests/benchmarks/README.md`: tool, version, what was done, exit code, outcome."""
    print(f"| TRL | {trl.__version__} | {done} | {code} | {outcome} |", flush=True)


def main(checkpoint: str, folder: Path, name: str, steps: int = 0) -> None:
    """Print a row for each way to read the rows, and one for the training, if there are steps."""
    expected = [json.loads(line) for line in (folder / "expected.jsonl").read_text(encoding="utf-8").splitlines()]
    before = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).get_input_embeddings().weight
    for way in WAYS:
        try:
            trainer = prepared(checkpoint, folder, way)
        except (ValueError, RuntimeError) as refusal:
            report(f"{name}: {way}", 1, f"{type(refusal).__name__}: {str(refusal).split('. ')[0]}")
            continue
        line = compare(trainer.train_dataset, expected, trainer.processing_class.decode)
        report(f"{name}: {way}", 0, line)
    if not steps:
        return
    trainer = prepared(
        checkpoint, folder, "prompt-completion", max_steps=steps, save_strategy="no", logging_steps=steps,
        per_device_train_batch_size=8, learning_rate=5e-4, disable_tqdm=True,
    )  # fmt: skip
    loss = trainer.train().training_loss
    trainer.save_model(str(folder / "trained"))
    after = trainer.model.get_input_embeddings().weight.detach()
    moved = (after - before.detach()).abs()[-_new_rows(checkpoint) :].mean()
    report(
        f"{name}: {steps} steps on prompt-completion", 0, f"loss {loss:.3f}; new rows moved {moved:.4f} a coordinate"
    )


def _new_rows(checkpoint: str) -> int:
    """How many rows are new: the tokens of the codes stand behind all others."""
    return sum(
        token.startswith("<") and "_" in token for token in AutoTokenizer.from_pretrained(checkpoint).get_vocab()
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], *(int(argument) for argument in sys.argv[4:5]))
