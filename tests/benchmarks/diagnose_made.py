"""Made-up checkpoints of real size for the benchmark of the diagnosis, with rows of known structure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gti_cli import tables
from gti_cli.checkpoints.new_tokens import NewTokens, write_new_tokens
from gti_cli.checkpoints.token_names import all_names
from gti_cli.workspace import Workspace

BLOCK = 8192


def bfloat16(rows: np.ndarray) -> np.ndarray:
    """Return the upper halves of float32 numbers: the content of a bfloat16 file."""
    return (np.ascontiguousarray(rows, dtype=np.float32).view(np.uint32) >> 16).astype("<u2")


def codebooks(sizes: tuple[int, ...], width: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((size, width)).astype(np.float32) for size in sizes]


def make_checkpoint(folder: Path, base: int, width: int, sizes: tuple[int, ...], *, tokenizer: bool = True) -> Path:
    """Write ``base`` pretrained rows (a shared direction, a decaying spectrum), then rows that follow `codebooks`."""
    folder.mkdir(parents=True)
    new = sum(sizes)
    rng = np.random.default_rng(0)
    scale = (1 / np.sqrt(1 + np.arange(width) / 20)).astype(np.float32)
    mean = 0.5 * rng.standard_normal(width).astype(np.float32)
    tensor = {"dtype": "BF16", "shape": [base + new, width], "data_offsets": [0, 2 * (base + new) * width]}
    header = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    header += b" " * (-len(header) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for start in range(0, base, BLOCK):
            rows = rng.standard_normal((min(BLOCK, base - start), width), dtype=np.float32) * scale + mean
            file.write(bfloat16(rows).tobytes())
        books = np.vstack(codebooks(sizes))
        rows = books @ rng.standard_normal((books.shape[1], width), dtype=np.float32) / 8
        rows += 0.5 * rng.standard_normal((new, width), dtype=np.float32) + mean
        file.write(bfloat16(rows).tobytes())
    config = {"vocab_size": base + new, "hidden_size": width, "tie_word_embeddings": True, "model_type": "llama"}
    config |= {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 0, "num_attention_heads": 8}
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 8, "torch_dtype": "bfloat16"}))
    names = all_names(sizes)
    if tokenizer:
        _tokenizer(base, names).save(str(folder / "tokenizer.json"))
    levels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    codes = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    write_new_tokens(folder, NewTokens(names, np.arange(base, base + new, dtype=np.int64), levels, codes))
    return folder


def _tokenizer(base: int, names: list[str]) -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocab = {f"word{number}": number for number in range(base)} | {name: base + i for i, name in enumerate(names)}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="word0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return inner


def make_workspace(root: Path, sizes: tuple[int, ...], items: int, base: int) -> Path:
    """Write semantic IDs, codebooks and texts of ``items`` made-up items."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(2)
    codes = np.stack([rng.integers(0, size, items) for size in sizes], axis=1).astype(np.int32)
    ids = [str(item) for item in range(items)]
    words = rng.integers(0, base, (items, 12))
    outputs = ["codebooks.safetensors", "semantic_ids.parquet", "items.parquet"]
    with Workspace(root).stage("build-ids", "semantic_ids", outputs, options={}) as run:
        save_file({f"level_{n}": book for n, book in enumerate(codebooks(sizes))}, run.path("codebooks.safetensors"))
        tables.write(
            run.path("semantic_ids.parquet"), {"item_id": ids, "codes": codes.tolist(), "tokens": [""] * items}
        )
        texts = [" ".join(f"word{word}" for word in row) for row in words]
        tables.write(run.path("items.parquet"), {"item_id": ids, "text": texts})
        run.details["identity"] = "made-up"
    return root
