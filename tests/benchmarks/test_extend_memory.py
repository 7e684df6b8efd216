"""Memory and time of `gti extend` with a real vocabulary's size, compared with loading and resizing the model.

Each side runs in a separate process: `gti extend --no-effect` as a user calls it, and plain transformers (load as
stored, resize_token_embeddings with its defaults, save_pretrained). The peak is resident memory; the memory of the
imports is printed separately. Run with ``pytest tests/benchmarks/test_extend_memory.py --run-benchmarks -s``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli import tables

VOCABULARY, WIDTH, LAYERS, NEW = 151_936, 1024, 24, 1024

PEER = """
import resource, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
base = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
if len(sys.argv) > 1:
    source, target, new = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.add_tokens([f"<n_{i}>" for i in range(new)])
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def make(folder: Path) -> int:
    """Write a Qwen3 model with random rows and zeros elsewhere; return the bytes of its weights."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    config = AutoConfig.for_model(
        "qwen3", vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True, dtype="bfloat16",
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    weights = {name: torch.zeros(p.shape, dtype=torch.bfloat16) for name, p in model.named_parameters()}
    weights["model.embed_tokens.weight"].normal_(std=0.02, generator=torch.Generator().manual_seed(0))
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["Qwen3ForCausalLM"]
    config.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(VOCABULARY)}, "w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1", pad_token="w0").save_pretrained(folder)
    return sum(weight.numel() * weight.itemsize for weight in weights.values())


def run(line: list[str]) -> tuple[float, str]:
    started = time.monotonic()
    done = subprocess.run([sys.executable, *line], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - started, done.stdout


@pytest.mark.parametrize("init", ["mean", "random"])
def test_memory_is_far_under_the_models_size(init: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # In a separate process: on Linux the peak memory of a child starts at the size of the process that started it.
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
        size = elsewhere.submit(make, tmp_path / "base").result()
    tables.write(tmp_path / "t.parquet", {"token": [f"<n_{number}>" for number in range(NEW)]})
    line = ["-m", "gti_cli", "extend", "--model", str(tmp_path / "base"), "--tokens", str(tmp_path / "t.parquet")]
    ours_s, said = run([*line, "-w", str(tmp_path / "w"), "--init", init, "--no-effect", "--json"])
    manifest: dict[str, Any] = json.loads(said)
    ours = int(manifest["run"]["peak_memory_bytes"])
    imports = int(run(["-c", PEER])[1].split()[-1])
    theirs_s, said = run(["-c", PEER, str(tmp_path / "base"), str(tmp_path / "peer"), str(NEW)])
    theirs = int(said.split()[-1])
    with capsys.disabled():
        print(
            f"\n{init}: {VOCABULARY:,} x {WIDTH} bf16, weights {size / 1e6:,.0f} MB, {NEW:,} new tokens; imports alone "
            f"{imports / 1e6:,.0f} MB\n  gti extend      peak {ours / 1e6:7,.0f} MB  {ours_s:6.1f} s (digests included)"
            f"\n  transformers    peak {theirs / 1e6:7,.0f} MB  {theirs_s:6.1f} s"
        )
    assert ours < 0.8 * size and ours < 0.5 * theirs  # with imports, a tokenizer of 151,936 words, blocks
    assert np.isfinite(manifest["metrics"]["new_rows_norm"])
