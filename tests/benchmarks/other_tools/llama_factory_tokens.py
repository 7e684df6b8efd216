"""Let LLaMA-Factory prepare exported rows, and compare its tokens and its loss with those of `gti finetune`.

Run by `llama_factory.sh`, with a Python that has LLaMA-Factory:

    python llama_factory_tokens.py CHECKPOINT FOLDER NAME

FOLDER is the output of `expected_tokens.py`; it gets ``dataset_info.json``. NAME says in the output what the checkpoint
is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.extras.env import VERSION
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

DATASETS = {
    "messages": {
        "file_name": "messages.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    },
    "prompt-completion": {
        "file_name": "prompt-completion.jsonl",
        "formatting": "alpaca",
        "columns": {"prompt": "prompt", "response": "completion"},
    },
}
# (rows, template): what is compared.
WAYS = (
    ("prompt-completion", {"template": "empty"}),
    ("messages", {"template": "qwen3_nothink"}),
    ("messages", {"template": "qwen3"}),
    ("messages", {"template": "qwen3", "enable_thinking": False}),
    ("messages", {"template": "default"}),
)


def rows(checkpoint: str, folder: Path, form: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    """The rows as LLaMA-Factory has prepared them, and its tokenizer."""
    arguments = {
        "model_name_or_path": checkpoint,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "dataset": form,
        "dataset_dir": str(folder),
        "cutoff_len": 4096,
        "output_dir": str(folder / "output"),
        "overwrite_cache": True,
        "report_to": "none",
        **settings,
    }
    model_args, data_args, training_args, _, _ = get_train_args(arguments)
    modules = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(modules["tokenizer"], data_args)
    return get_dataset(template, model_args, data_args, training_args, "sft", **modules)["train_dataset"], modules


def compare(prepared: Any, expected: list[dict[str, Any]], decode: Any) -> str:
    """Count the rows whose prompt, and whose answer with its loss, are the same tokens."""
    counts = {"same": 0, "prefix": 0}
    behind = ""
    for row, wanted in zip(prepared, expected, strict=True):
        ids, first = wanted["ids"], wanted["first"]
        length = len(ids)
        agrees = row["input_ids"][:length] == ids and row["labels"][:length] == [-100] * first + ids[first:]
        counts["prefix"] += agrees
        counts["same"] += agrees and len(row["input_ids"]) == length
        if agrees and len(row["input_ids"]) > length:
            behind = decode(row["input_ids"][length:])
    shown = f" ({counts['prefix'] - counts['same']} with {behind!r} behind the end, trained on, too)" if behind else ""
    return f"{counts['prefix']} of {len(expected)} rows have the same tokens and the same loss{shown}"


def main(checkpoint: str, folder: Path, name: str) -> None:
    """Print a row of the table for each template."""
    (folder / "dataset_info.json").write_text(json.dumps(DATASETS), encoding="utf-8")
    expected = [json.loads(line) for line in (folder / "expected.jsonl").read_text(encoding="utf-8").splitlines()]
    for form, settings in WAYS:
        prepared, modules = rows(checkpoint, folder, form, settings)
        told = ", ".join(f"{key}: {str(value).lower()}" for key, value in settings.items())
        outcome = compare(prepared, expected, modules["tokenizer"].decode)
        print(f"| LLaMA-Factory | {VERSION} | {name}: {form}, {told} | 0 | {outcome} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
