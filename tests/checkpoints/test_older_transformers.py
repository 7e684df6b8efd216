"""Saved checkpoints, under the transformers that is installed and under 4.57, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.checkpoints.older_transformers import is_read_by_version_4, with_older_keys
from gti_cli.checkpoints.saving import save_checkpoint
from tests.support.models import make_model, make_tokenizer

NAMES = ["<a_0>", "<a_1>"]
TEXT = "The red<x> dress<a_0><a_1>\n  café 123 <|im_start|>"
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0]}
BOTH_LAYERS = ["sliding_attention", "full_attention"]
# Two layers each, with position embeddings that no version has by default.
MODELS: dict[str, dict[str, Any]] = {
    "qwen3": {"rope_theta": 1e6},
    "qwen2": {"rope_theta": 1e6, "rope_scaling": YARN},
    "llama": {"rope_theta": 5e5, "rope_scaling": {**LLAMA3, "original_max_position_embeddings": 128}},
    "gemma3_text": {"rope_theta": 5e5, "rope_local_base_freq": 500.0, "layer_types": BOTH_LAYERS},
    "phi3": {"rope_scaling": LONG, "original_max_position_embeddings": 16},
    "gpt_neox": {"rotary_pct": 0.5, "rotary_emb_base": 500},
    "stablelm": {"rope_theta": 300.0, "partial_rotary_factor": 0.5},
    "qwen3_moe": {"rope_theta": 1e6, "num_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2},
    "gpt2": {},
}
# What transformers 4.57 makes of a folder: the ids and the last logits of a text, and how a generation goes on.
READ = """
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
transformers.utils.logging.disable_progress_bar()
read = {"version": transformers.__version__}
for folder in sys.argv[2:]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs = tokenizer(sys.argv[1], return_tensors="pt", return_token_type_ids=False)
    written = model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    read[folder] = {
        "ids": inputs["input_ids"][0].tolist(), "dtype": str(model.dtype), "generated": written[0].tolist(),
        "special": sorted(tokenizer.all_special_ids), "size": len(tokenizer), "chat": chat,
        "kept": tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True),
        "logits": model(**inputs).logits[0, -1].float().tolist(),
    }
print(json.dumps(read))
"""


def save(folder: Path, kind: str, source: str, **more: Any) -> None:
    """Save a model, and a tokenizer that was loaded from a folder whose ``tokenizer_class`` is ``source``."""
    from transformers import AutoTokenizer

    base = folder.parent / f"base-{folder.name}"
    make_tokenizer().save_pretrained(base)
    # Version 5 takes the kind of model into account when it chooses the class of a tokenizer.
    make_model(kind, **more).config.save_pretrained(base)
    config = json.loads((base / "tokenizer_config.json").read_text())
    config.update(tokenizer_class=source, additional_special_tokens=["<x>"], errors="replace")
    config.pop("backend", None)
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(NAMES)
    ids = np.asarray(tokenizer.convert_tokens_to_ids(NAMES))
    model = make_model(kind, vocab_size=len(tokenizer), **more)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, 0, 0.25)
    save_checkpoint(
        folder, model, tokenizer, NewTokens(NAMES, ids, np.zeros(2, np.int32), np.arange(2, dtype=np.int32))
    )


def read(*folders: Path, older: str | None = None) -> dict[str, Any]:
    """Read checkpoints in another process, with the packages of the folder ``older`` before those installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", **({"PYTHONPATH": older} if older else {})}
    command = [sys.executable, "-W", "ignore", "-c", READ, TEXT, *map(str, folders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_transformers_4_reads_what_version_5_reads(tmp_path: Path) -> None:
    older = os.environ.get("GTI_TRANSFORMERS4")
    if not older:
        pytest.skip("GTI_TRANSFORMERS4 names no folder with transformers 4.57: see 'make test-all'")
    folders = [tmp_path / kind for kind in MODELS]
    classes = ["Qwen2Tokenizer", "PreTrainedTokenizerFast", "TokenizersBackend", "GPT2Tokenizer"]
    for number, (folder, more) in enumerate(zip(folders, MODELS.values(), strict=True)):
        save(folder, folder.name, classes[number % len(classes)], **more)
    new, old = read(*folders), read(*folders, older=older)
    assert old.pop("version").startswith("4.57") and not new.pop("version").startswith("4")
    for name in map(str, folders):
        logits = np.array([one[name].pop("logits") for one in (new, old)])
        assert old[name] == new[name], name
        assert np.abs(logits).max() > 0.5 and np.abs(logits[0] - logits[1]).max() < 1e-4, name


@pytest.mark.parametrize(
    ("kind", "source"),
    [("qwen2", "Qwen2TokenizerFast"), ("gpt2", "PreTrainedTokenizerFast"), ("gpt2", "GPT2Tokenizer")],
)
def test_class_and_form_of_the_tokenizer_are_those_of_its_source(tmp_path: Path, kind: str, source: str) -> None:
    save(tmp_path / "new", kind, source)
    config = json.loads((tmp_path / "new" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == source and config["errors"] == "replace"
    assert config["additional_special_tokens"] == ["<x>"] and "extra_special_tokens" not in config


def test_a_class_of_another_architecture_does_not_come_back(tmp_path: Path) -> None:
    """Version 5 reads a byte-level Llama tokenizer as what it is; version 4's class would add tokens to it."""
    from transformers import AutoTokenizer

    save(tmp_path / "new", "llama", "LlamaTokenizer")
    if type(AutoTokenizer.from_pretrained(tmp_path / "base-new")).__name__ == "LlamaTokenizer":
        pytest.skip("this version of transformers, such as 5.4, believes the name of the class")
    config = json.loads((tmp_path / "new" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


@pytest.mark.parametrize("kind", MODELS)
def test_older_keys_say_what_the_newer_ones_say(tmp_path: Path, kind: str) -> None:
    """A configuration of the older keys alone is the same configuration."""
    from transformers import AutoConfig

    save(tmp_path / "new", kind, "PreTrainedTokenizerFast", **MODELS[kind])
    path = tmp_path / "new" / "config.json"
    assert is_read_by_version_4(path.parent)
    config = json.loads(path.read_text())
    assert config["torch_dtype"] == config["dtype"] == "float32"
    before = AutoConfig.from_pretrained(path.parent)
    for newer in ("rope_parameters", "dtype"):
        config.pop(newer, None)
    path.write_text(json.dumps(config))
    assert is_read_by_version_4(path.parent)
    after = AutoConfig.from_pretrained(path.parent)
    ropes = [dict(getattr(one, "rope_parameters", None) or {}) for one in (before, after)]
    for rope in ropes:
        rope.pop("type", None)  # a second name of rope_type
    assert ropes[0] == ropes[1]
    assert after.dtype == before.dtype


def test_a_position_embedding_that_version_4_lacks_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    different = {"sliding_attention": {"rope_theta": 9.0}, "full_attention": {"rope_theta": 99.0}}
    rope = {name: {"rope_type": "default", **part} for name, part in different.items()}
    save(tmp_path / "new", "olmo3", "PreTrainedTokenizerFast", rope_parameters=rope, layer_types=BOTH_LAYERS)
    assert "rope_theta" not in json.loads((tmp_path / "new" / "config.json").read_text())
    assert "load this checkpoint with transformers 5" in " ".join(capsys.readouterr().err.split())
    assert not is_read_by_version_4(tmp_path / "new")


def test_what_version_5_writes_by_itself_is_not_for_version_4(tmp_path: Path) -> None:
    make_model("qwen3").config.save_pretrained(tmp_path)
    assert not is_read_by_version_4(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(with_older_keys(config)))
    assert is_read_by_version_4(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "TokenizersBackend"}))
    assert not is_read_by_version_4(tmp_path)


def test_keys_that_stand_there_stay() -> None:
    config = {
        "rope_theta": 7.0,
        "rope_parameters": {"rope_theta": 9.0, "rope_type": "default"},
        "torch_dtype": "float16",
    }
    assert with_older_keys(config) == config
    inner = {"text_config": {"dtype": "bfloat16", "rope_parameters": {"rope_theta": 9.0, "rope_type": "default"}}}
    assert with_older_keys(inner) == {
        "text_config": {**inner["text_config"], "torch_dtype": "bfloat16", "rope_theta": 9.0}
    }
