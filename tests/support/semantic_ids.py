"""Made-up catalogues and embeddings, small RQ-VAE options, and a text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gti_cli import tables
from gti_cli.semantic_ids.catalogue import Catalogue, read_catalogue
from gti_cli.semantic_ids.options import RQVAEOptions

SMALL_RQVAE = RQVAEOptions(hidden=(32, 16), latent=8, epochs=30, batch_size=64, warm_up=10, check_every=5)
TINY_RQVAE = RQVAEOptions(hidden=(16,), latent=4, epochs=3, warm_up=1, check_every=1)
TITLES = ["red silk dress", "blue silk dress", "grey wool coat", "grey wool scarf", "linen shirt", "blue linen shirt"]
WORDS = ["red", "blue", "green", "grey", "silk", "wool", "linen", "dress", "coat", "shirt", "skirt", "scarf"]


def make_items(folder: Path, n: int = 80, name: str = "items.parquet", **more: Any) -> Path:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "item_id": [f"i{row}" for row in range(n)],
        "title": [" ".join(rng.choice(WORDS, 3)) + f" {row}" for row in range(n)],
        "brand": [None if row % 3 else "Acme" for row in range(n)],
        **more,
    }
    tables.write(folder / name, columns)
    return folder / name


def new_items(folder: Path, n: int = 12, start: int = 1000, name: str = "new.parquet", **more: Any) -> Path:
    columns = {
        "item_id": [f"n{start + row}" for row in range(n)],
        "title": [f"red silk dress {row}" for row in range(n)],
    }
    columns["brand"] = [None] * n
    tables.write(folder / name, {**columns, **more})
    return folder / name


def make_catalogue(folder: Path, text_columns: list[str] | None = None, **columns: Any) -> Catalogue:
    """A catalogue of the given columns; ids i0, i1, … unless they are given."""
    size = len(next(iter(columns.values())))
    columns.setdefault("item_id", [f"i{n}" for n in range(size)])
    tables.write(folder / "items.parquet", columns)
    return read_catalogue(folder / "items.parquet", text_columns)


def clouds(n: int = 300, width: int = 12, seed: int = 0) -> np.ndarray:
    """Embeddings (n, width) around twelve points."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, width))
    return (centres[rng.integers(12, size=n)] + 0.3 * rng.standard_normal((n, width))).astype(np.float32)


def make_encoder(folder: Path, length: int = 12) -> Path:
    """A tiny sentence-transformers model, mean pooling over a random BERT."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel

    from tests.support.models import make_tokenizer

    torch.manual_seed(0)
    tokenizer = make_tokenizer(chat=False)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=length,
    )
    BertModel(config).save_pretrained(folder / "base")
    tokenizer.model_max_length = length
    tokenizer.save_pretrained(folder / "base")
    transformer = models.Transformer(str(folder / "base"), max_seq_length=length)
    SentenceTransformer(modules=[transformer, models.Pooling(16)]).save(str(folder / "encoder"))
    return folder / "encoder"


def chinese_titles(n: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Titles such as 红色羊毛夏季连衣裙, and the numbers (n, 4) of their four parts."""
    parts = [
        ["红色", "蓝色", "黑色", "白色", "绿色", "灰色", "粉色", "棕色"],
        ["羊毛", "丝绸", "亚麻", "纯棉", "皮革", "牛仔"],
        ["夏季", "冬季", "春秋", "四季"],
        ["连衣裙", "大衣", "衬衫", "围巾", "短裤", "外套", "半身裙", "毛衣"],
    ]
    rng = np.random.default_rng(seed)
    numbers = np.stack([rng.integers(len(words), size=n) for words in parts], axis=1)
    titles = ["".join(words[number] for words, number in zip(parts, row, strict=True)) for row in numbers]
    return titles, numbers
