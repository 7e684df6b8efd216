"""Export a workspace's training rows in each format, beside the tokens that `gti finetune` trains on.

Run by `trl.sh` and `llama_factory.sh`, with the Python that has gti:

    python expected_tokens.py WORKSPACE INTERACTIONS QUERIES CHECKPOINT OUTPUT [ROWS_OF_EACH_KIND]

OUTPUT gets ``messages.jsonl`` and ``prompt-completion.jsonl``, ``training.jinja``, and ``expected.jsonl``: for each
row its ``kind``, its token ``ids``, and ``first``, the position of the first token that carries the loss.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer

from gti_cli.recommendation.conversations import export_conversations
from gti_cli.recommendation.options import TaskOptions
from tests.support.trained_tokens import spread, trained_examples

TASKS = TaskOptions(tasks=("next-item", "search", "lc-rec"))
FORMATS = ("messages", "prompt-completion")


def main(workspace: Path, interactions: Path, queries: Path, checkpoint: Path, output: Path, rows: int = 50) -> None:
    """Write the files."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    examples = trained_examples(workspace, interactions, queries, tokenizer, TASKS)
    places: dict[str, list[int]] = {}
    for n, (kind, _) in enumerate(examples):
        places.setdefault(kind, []).append(n)
    kept = [group[n] for group in places.values() for n in spread(len(group), rows)]
    output.mkdir(parents=True, exist_ok=True)
    with (output / "expected.jsonl").open("w", encoding="utf-8") as file:
        for n in kept:
            kind, example = examples[n]
            row = {"kind": kind, "ids": example.prompt + example.answer, "first": len(example.prompt)}
            file.write(json.dumps(row) + "\n")
    for form in FORMATS:
        path = output / f"{form}.jsonl"
        template = output / "training.jinja" if form == "messages" else None
        written = {"form": form, "template_file": template, "checkpoint": str(checkpoint), "options": TASKS}
        export_conversations(path, workspace, interactions, queries, **written)
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        assert len(lines) == len(examples), (len(lines), len(examples))
        path.write_text("".join(lines[n] for n in kept), encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:6]), *(int(argument) for argument in sys.argv[6:7]))
