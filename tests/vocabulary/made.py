"""Tiny models of every architecture that extension is checked on, and checkpoints with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import make_tokenizer

KINDS: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "llama": {},
    "mistral": {},
    "gemma": {},  # scales its embeddings
    "gemma2": {},  # and caps its logits
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": {},  # has a bias in the head
}


def lm(kind: str, vocab: int, tied: bool, dtype: torch.dtype = torch.float32) -> Any:
    """A random two-layer model of architecture ``kind``."""
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {
        "vocab_size": vocab,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 2,
        **KINDS[kind],
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields)).to(dtype).eval()
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is not None:
        torch.nn.init.normal_(bias)
    return model


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
