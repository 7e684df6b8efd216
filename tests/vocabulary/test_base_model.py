"""Where the model to extend may lie: in the workspace, in a folder, in a hub's cache, or in a GGUF file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.errors import InputError
from gti_cli.vocabulary.base_model import find_base, is_gguf, safetensors_folder
from gti_cli.workspace import Workspace
from tests.support.vocabulary import load, write_checkpoint


def test_a_folder_with_safetensors_in_one_file_or_shards(tmp_path: Path) -> None:
    for shards in (False, True):
        folder = write_checkpoint(tmp_path / str(shards), shards=shards)
        base = find_base(Workspace(tmp_path / "w"), str(folder))
        assert (base.path, base.local, is_gguf(base)) == (str(folder), True, False)
        assert safetensors_folder(base) == folder


def test_a_folder_without_safetensors_is_left_to_transformers(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "base")
    (folder / "model.safetensors").unlink()
    assert safetensors_folder(find_base(Workspace(tmp_path / "w"), str(folder))) is None


@pytest.mark.parametrize("name", ["m.gguf", "M.GGUF"])
def test_gguf_files_are_known_by_their_ending(name: str, tmp_path: Path) -> None:
    base = Checkpoint(str(tmp_path / name), True, None, None)
    assert is_gguf(base) and safetensors_folder(base) is None
    with pytest.raises(InputError, match="no such file"):
        find_base(Workspace(tmp_path), str(tmp_path / name))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_base(Workspace(tmp_path), str(tmp_path / "absent"))


def test_a_model_in_the_cache_of_a_hub(tmp_path: Path, words: Path) -> None:
    """By its name, without the network: the cache as huggingface_hub lays it out, sharded weights."""
    cache = tmp_path / "hub" / "models--some--lm"
    write_checkpoint(cache / "snapshots" / "0abc", shards=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0abc")
    line = [sys.executable, "-m", "gti_cli", "extend", "--model", "some/lm", "--tokens", str(words)]
    line += ["-w", str(tmp_path / "w"), "--no-effect", "--json"]
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["details"]["model"] == "some/lm"
    assert len(list((tmp_path / "w" / "extended").glob("*.safetensors"))) > 1
    model, _ = load(tmp_path / "w" / "extended")
    assert len(model.get_input_embeddings().weight) == 387
    assert "base_model: some/lm\n" in (tmp_path / "w" / "extended" / "README.md").read_text()


def test_a_downloaded_model_is_refused_by_its_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "a.weight_scale_inv": torch.ones(1)}, folder / "model.safetensors", {"format": "pt"})
    monkeypatch.setattr("gti_cli.vocabulary.base_model._download", lambda _: folder)
    with pytest.raises(InputError, match=r"is quantized: it holds the tensor 'a\.weight_scale_inv'"):
        safetensors_folder(Checkpoint("some/lm", False, None, None))
