"""Checkpoints of every architecture that extension is tested on, and small catalogues with semantic IDs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gti_cli import tables
from gti_cli.checkpoints.token_names import semantic_id
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from gti_cli.workspace import Workspace
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


def write_words(folder: Path) -> Path:
    """Write a table with three new tokens for ``--tokens``."""
    tables.write(folder / "words.parquet", {"token": ["<x>", "<y>", "<z>"]})
    return folder / "words.parquet"


def write_semantic_ids(
    space: Workspace,
    codes: np.ndarray,
    sizes: Sequence[int],
    *,
    style: str = "lc-rec",
    texts: Sequence[str] | None = None,
    codebooks: Sequence[np.ndarray] | None = None,
) -> None:
    """Put into a workspace what `gti build-ids` would write for items i0, i1, … with ``codes`` (N, L)."""
    from safetensors.numpy import save_file

    item_ids = [f"i{number}" for number in range(len(codes))]
    optional = {"items.parquet": texts, "codebooks.safetensors": codebooks}
    outputs = ["semantic_ids.parquet", *(name for name, content in optional.items() if content is not None)]
    with space.stage("build-ids", "semantic_ids", outputs, options={}) as run:
        tokens = [semantic_id(row, style) for row in codes]
        columns = {"item_id": item_ids, "codes": codes.tolist(), "tokens": tokens}
        tables.write(run.path("semantic_ids.parquet"), columns)
        if texts is not None:  # in another order than the semantic IDs
            tables.write(run.path("items.parquet"), {"item_id": item_ids[::-1], "text": list(texts)[::-1]})
        if codebooks is not None:
            arrays = {f"level_{level}": np.float32(vectors) for level, vectors in enumerate(codebooks)}
            save_file(arrays, run.path("codebooks.safetensors"))
        run.details.update(levels=len(sizes), sizes=list(sizes), token_style=style, identity="ids")


TEXTS = ["red silk dress", "blue denim jacket", "red wool coat", "leather boots, red", "", "blue linen shirt"]
CODES = np.array([[0, 0], [1, 0], [0, 1], [2, 1], [2, 2], [1, 1]])
SIZES = [4, 3]  # code 3 of level 0 has no item; code 2 of level 1 has one item, without a text


def catalogue_tokens(width: int = 5) -> TokensToAdd:
    """The seven codes of the six items, with their texts and random codebooks of ``width`` numbers a vector."""
    rng = np.random.default_rng(0)
    codebooks = [rng.normal(size=(size, width)).astype(np.float32) for size in SIZES]
    names = [f"<{level}_{code}>" for level, size in zip("ab", SIZES, strict=True) for code in range(size)]
    return TokensToAdd(names, [], TEXTS, CODES + np.array([0, SIZES[0]]), codebooks)


def pretrained_rows(tokenizer: Any, width: int = 8, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Random rows (V, width) for all tokens of ``tokenizer``, with a mean that is not zero."""
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(len(tokenizer), width, generator=generator) + 0.5).to(dtype)
