"""`gti extend --model FILE.gguf`, on a tiny file that the package `gguf` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.vocabulary.extend import extend
from tests.support.vocabulary import load

WIDTH, HIDDEN = 32, 64


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A one-layer Llama with a 40-token BPE vocabulary; the feed-forward weights in Q8_0. Returns what was stored."""
    gguf = pytest.importorskip("gguf", reason="package gguf is not installed")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(40)
    writer.add_tokenizer_model("gpt2")
    tokens = ["<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz", *"012345678", "ab", "Ġ", "."]
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * 38)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    rng = np.random.default_rng(0)
    shapes = {"attn_q": (32, 32), "attn_k": (32, 32), "attn_v": (32, 32), "attn_output": (32, 32)}
    shapes |= {"ffn_gate": (HIDDEN, 32), "ffn_up": (HIDDEN, 32), "ffn_down": (32, HIDDEN)}
    stored = {f"blk.0.{name}.weight": rng.normal(0, 0.2, shape) for name, shape in shapes.items()}
    stored |= {name: np.ones(32) for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight")}
    stored["token_embd.weight"] = rng.normal(0, 0.2, (40, WIDTH))
    kept = {}
    for name, values in stored.items():
        array = values.astype(np.float32)
        if "ffn_" in name and "norm" not in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            packed = gguf.quants.quantize(array, kind)
            writer.add_tensor(name, packed, raw_dtype=kind)
            array = gguf.quants.dequantize(packed, kind)
        else:
            writer.add_tensor(name, array)
        kept[name] = array
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


def test_weights_are_dequantized_with_a_warning(
    tmp_path: Path, words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = write_gguf(tmp_path / "tiny.gguf")
    manifest = extend(str(tmp_path / "tiny.gguf"), tmp_path / "w", tokens=words, device="cpu")
    said = " ".join(capsys.readouterr().err.split())
    assert "tiny.gguf: weights were dequantized to float32" in said and "3 Q8_0" in said
    assert manifest.details["gguf_tensors"] == {"F32": 8, "Q8_0": 3}
    assert manifest.details["dequantised_to"] == "float32"
    model, tokenizer = load(tmp_path / "w" / "extended")
    weights = model.state_dict()
    old = torch.from_numpy(kept["token_embd.weight"])
    assert torch.equal(weights["model.embed_tokens.weight"][:40], old)
    # transformers adds an unknown token of its own to such a tokenizer; it gets the mean row as well.
    torch.testing.assert_close(weights["model.embed_tokens.weight"][40:], old.mean(0).expand(4, -1))
    down = torch.from_numpy(kept["blk.0.ffn_down.weight"])
    assert torch.equal(weights["model.layers.0.mlp.down_proj.weight"], down)
    assert tokenizer("ab<y>c", add_special_tokens=False).input_ids[-2] == 42
    assert manifest.counts["rows"] == 44 and manifest.inputs["model"]["path"].endswith("tiny.gguf")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such file"):
        extend(str(tmp_path / "absent.gguf"), tmp_path / "w", tokens=words)
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="not a GGUF file"):
        extend(str(other), tmp_path / "w", tokens=words)
    other.write_bytes(b"GGUF\x03\x00\x00\x00")
    monkeypatch.setattr("transformers.utils.import_utils.is_gguf_available", lambda: False)
    with pytest.raises(InputError, match="needs the package gguf"):
        extend(str(other), tmp_path / "w", tokens=words)
    assert not (tmp_path / "w").exists()


def test_a_damaged_file_is_one_line(tmp_path: Path, words: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    data = (tmp_path / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(data[: len(data) // 4])
    with pytest.raises(InputError):
        extend(str(tmp_path / "tiny.gguf"), tmp_path / "w", tokens=words)
