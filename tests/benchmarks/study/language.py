"""Measure how much of its language a checkpoint has kept: python language.py WORKSPACE CHECKPOINT [EVERY]

Writes WORKSPACE/language/CHECKPOINT.json: nats per token (softmax over the whole vocabulary, new tokens included) of
ordinary text (the six texts that `gti extend` measures on) and of the texts of one item in EVERY (10) of the catalogue.
Perplexity is the exponential of that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from gti_cli.vocabulary.text_effect import ORDINARY_TEXT

LONGEST = 128  # tokens at which a text is cut


def surprise(model: Any, tokenizer: Any, texts: Sequence[str]) -> tuple[float, int]:
    """Return the mean nats per token, without the first token of each text, and the number of these tokens."""
    total, count = 0.0, 0
    for text in texts:
        words = tokenizer(text, return_tensors="pt", truncation=True, max_length=LONGEST)["input_ids"].to(model.device)
        if words.shape[1] < 2:
            continue
        with torch.inference_mode():
            logits = model(input_ids=words).logits[0, :-1].double()
        total += float(torch.nn.functional.cross_entropy(logits, words[0, 1:], reduction="sum"))
        count += words.shape[1] - 1
    return total / count, count


def item_texts(workspace: Path, every: int) -> list[str]:
    """Read title and description of one item in ``every``."""
    table = pq.read_table(workspace / "items.parquet")
    columns = [table[name].to_pylist() for name in ("title", "description") if name in table.column_names]
    return [". ".join(part for part in parts if part) for parts in list(zip(*columns, strict=True))[::every]]


def main(workspace: Path, name: str, every: int = 10) -> None:
    """Measure a checkpoint and write the figures."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = workspace / name
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found: dict[str, float] = {}
    for kind, texts in (("ordinary", ORDINARY_TEXT), ("items", item_texts(workspace, every))):
        found[f"{kind}_nats"], found[f"{kind}_tokens"] = surprise(model, tokenizer, texts)
    path = workspace / "language" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found), "utf-8")
    part.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
