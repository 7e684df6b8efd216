"""Tiny models of every architecture that extension is checked on, and checkpoints with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.support.models import make_model, make_tokenizer

# gemma scales its embeddings, gemma2 caps its logits too, phi has a bias in the head.
KINDS = ("qwen3", "llama", "mistral", "gemma", "gemma2", "gpt2", "gpt_neox", "opt", "phi")


def lm(kind: str, vocab: int, tied: bool, dtype: torch.dtype = torch.float32) -> Any:
    """A random two-layer model of architecture ``kind``; biases too are random."""
    return make_model(kind, vocab, tied=tied, biased=True).to(dtype)


def write_checkpoint(
    folder: Path,
    kind: str = "qwen3",
    *,
    tied: bool = True,
    reserve: int = 0,
    dtype: torch.dtype = torch.float32,
    shards: bool = False,
) -> Path:
    """Write a model, with ``reserve`` rows more than its tokenizer has tokens, and return its folder."""
    tokenizer = make_tokenizer()
    model = lm(kind, len(tokenizer) + reserve, tied, dtype)
    model.save_pretrained(folder, max_shard_size="60KB" if shards else "5GB")
    tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer by plain transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
