"""What `gti extend` prints; the stage itself is tested in tests/vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from gti_cli import tables
from gti_cli.app import run
from tests.support.vocabulary import write_checkpoint


@pytest.fixture
def line(tmp_path: Path) -> list[str]:
    tables.write(tmp_path / "words.parquet", {"token": ["<x>", "<y>", "<z>"]})
    base = write_checkpoint(tmp_path / "base", "llama", tied=False)
    tokens = ["--tokens", str(tmp_path / "words.parquet")]
    return ["extend", "--model", str(base), *tokens, "-w", str(tmp_path / "w"), "--device", "cpu"]


def test_prints_what_was_done_and_every_number_is_in_the_manifest(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line) == 0
    said = capsys.readouterr().out
    assert "Extended base, start mean" in said
    assert run([*line, "--json"]) == 0  # done already: the manifest is printed all the same
    captured = capsys.readouterr()
    assert "up to date" in captured.err
    manifest = json.loads(captured.out)
    assert manifest["counts"]["new_tokens"] == 3
    for words, name in {
        "effective rank of the new rows, input matrix": "new_rows_effective_rank",
        "mean norm of the new rows, output matrix": "head_new_rows_norm",
        "mean norm of pretrained rows, output matrix": "head_pretrained_rows_norm",
        "probability of new tokens on ordinary text": "new_tokens_share",
        "KL divergence from the base model on ordinary text": "kl_to_base",
    }.items():
        shown = next(row for row in said.splitlines() if words in row)
        assert f"{manifest['metrics'][name]:.4f}" in shown
    assert run([*line, "--init", "random"]) == 2
    assert "--force" in capsys.readouterr().err


def test_without_the_effect(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*line, "--no-effect"]) == 0
    assert "ordinary text" not in capsys.readouterr().out
    assert run(line) == 2  # not the same: the measurement is missing
    assert "measure_effect" in capsys.readouterr().err


@pytest.mark.parametrize("effect", [[], ["--no-effect"]])
def test_missing_weights_are_noticed_also_where_no_model_is_loaded(
    effect: list[str], line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(tmp_path / "base" / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    assert run([*line, *effect]) == 2
    assert "the checkpoint lacks the weights model.layers.1.mlp.up_proj.weight" in capsys.readouterr().err
    assert not (tmp_path / "w" / "extended").exists()
