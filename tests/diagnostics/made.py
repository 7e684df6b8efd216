"""Checkpoints made by hand for the tests of the diagnosis: a tiny model with new tokens whose rows are chosen."""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from gti_cli.vocabulary.tokens import NewTokens, all_names, write_new_tokens
from tests.conftest import make_model, make_tokenizer

SIZES = (6, 6, 6)
WIDTH = 32
D_CODE = 8


def codebooks(sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((size, D_CODE)).astype(np.float32) for size in sizes]


def write_codebooks(path: Path, sizes=SIZES, seed=0) -> Path:
    save_file({f"level_{level}": book for level, book in enumerate(codebooks(sizes, seed))}, path)
    return path


def new_rows(kind: str, n: int, seed=0) -> np.ndarray:
    """``collapsed``: one point; ``scattered``: noise; ``grounded``: a linear image of the codebooks."""
    rng = np.random.default_rng(seed + 1)
    if kind == "collapsed":
        return np.repeat(rng.standard_normal((1, WIDTH)), n, axis=0)
    if kind == "scattered":
        return rng.standard_normal((n, WIDTH))
    return np.vstack(codebooks())[:n] @ rng.standard_normal((D_CODE, WIDTH))


def make_extended(
    folder: Path, kind="grounded", *, arch="qwen3", tied=True, ours=True, dtype=torch.float32, output=None, **save
) -> Path:
    """Write a checkpoint with the tokens of `SIZES` behind its vocabulary; ``output``: kind of the head's rows."""
    names = all_names(SIZES)
    tokenizer = make_tokenizer()
    base = len(tokenizer)
    tokenizer.add_tokens(names)
    model = make_model(arch, base, tied=tied, width=WIDTH)
    model.resize_token_embeddings(base + len(names), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[base:] = torch.tensor(new_rows(kind, len(names)))
        if output is not None:
            model.get_output_embeddings().weight[base:] = torch.tensor(new_rows(output, len(names)))
    model.to(dtype).save_pretrained(folder, **save)
    tokenizer.save_pretrained(folder)
    if ours:
        levels = np.repeat(np.arange(len(SIZES), dtype=np.int32), SIZES)
        codes = np.concatenate([np.arange(size, dtype=np.int32) for size in SIZES])
        ids = np.arange(base, base + len(names), dtype=np.int64)
        write_new_tokens(folder, NewTokens(names, ids, levels, codes))
    return folder
