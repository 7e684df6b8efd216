"""What extension by files copies, changes and refuses; the architectures are in test_architectures.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gti_cli.errors import InputError
from gti_cli.vocabulary.extend import extend
from gti_cli.workspace import Workspace
from tests.support.models import make_tokenizer
from tests.support.vocabulary import load, write_checkpoint


def change_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.update(fields)
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def test_the_stored_format_counts_not_the_configuration(tmp_path: Path, words: Path) -> None:
    base = write_checkpoint(tmp_path / "base", dtype=torch.bfloat16)
    change_config(base, dtype=None)
    extend(str(base), tmp_path / "w", tokens=words, device="cpu")
    new = load_file(tmp_path / "w" / "extended" / "model.safetensors")
    assert {weight.dtype for weight in new.values()} == {torch.bfloat16}
    assert "dtype" not in json.loads((tmp_path / "w" / "extended" / "config.json").read_text())


def test_another_format_when_asked_for(tmp_path: Path, words: Path) -> None:
    base = write_checkpoint(tmp_path / "base", dtype=torch.float16)
    extend(str(base), tmp_path / "w", tokens=words, device="cpu", dtype="float32")
    old, new = load_file(base / "model.safetensors"), load_file(tmp_path / "w" / "extended" / "model.safetensors")
    for name, weight in old.items():
        assert torch.equal(new[name][: len(weight)], weight.float())
    assert json.loads((tmp_path / "w" / "extended" / "config.json").read_text())["dtype"] == "float32"


def test_other_files_of_the_folder_are_copied_except_weights_and_old_tokenizers(tmp_path: Path, words: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    (base / "generation_config.json").write_text('{"temperature": 0.7}')
    (base / "LICENSE").write_text("yes")
    (base / "README.md").write_text("---\nlicense: mit\n---\n# The base model\n")
    for stale in ("added_tokens.json", "pytorch_model.bin", "trajectory.parquet", "gti_prompt.json", ".hidden"):
        (base / stale).write_text("{}")
    extend(str(base), tmp_path / "w", tokens=words, device="cpu")
    new = tmp_path / "w" / "extended"
    assert {path.name for path in new.iterdir()} == {
        "LICENSE", "README.md", "chat_template.jinja", "config.json", "generation_config.json", "gti.json",
        "model.safetensors", "new_tokens.parquet", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    card = (new / "README.md").read_text()  # a card of its own, with the base model's licence
    assert "license: mit\n" in card and "# The base model" not in card
    assert json.loads((new / "generation_config.json").read_text()) == {"temperature": 0.7}
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, new))
    assert {key for key in before if before[key] != after.get(key)} == {"vocab_size"}
    assert list(after) == [*before, "torch_dtype", "rope_theta"]  # what transformers 4 reads


def test_no_model_is_loaded_when_no_effect_is_wanted(
    tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_checkpoint(tmp_path / "base", tied=False)
    monkeypatch.setattr("gti_cli.vocabulary.extend.load_model", None)
    manifest = extend(str(base), tmp_path / "w", tokens=words, measure_effect=False)
    assert "kl_to_base" not in manifest.metrics
    assert manifest.metrics["new_rows_norm"] > 0 and manifest.metrics["head_new_rows_norm"] > 0
    model, tokenizer = load(tmp_path / "w" / "extended")
    assert len(model.get_output_embeddings().weight) == len(tokenizer)


def test_weights_of_another_vocabulary(tmp_path: Path, words: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    change_config(base, vocab_size=99)
    with pytest.raises(InputError, match="has 384 rows, and the configuration says 99"):
        extend(str(base), tmp_path / "w", tokens=words)
    assert not (tmp_path / "w" / "extended").exists()


def test_pickled_weights_are_refused(tmp_path: Path, words: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match="cannot be loaded as a causal LM"):
        extend(str(base), tmp_path / "w", tokens=words)


def test_memory_is_that_of_a_block_not_of_the_model(tmp_path: Path) -> None:
    """A sparse 400 MB checkpoint through the writer, in a process of its own: it grows by blocks, far under that."""
    base = tmp_path / "base"
    base.mkdir()
    shape, other = (100_000, 1000), (100_000, 1000)
    header = json.dumps(
        {
            "embed": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 200_000_000]},
            "other": {"dtype": "BF16", "shape": other, "data_offsets": [200_000_000, 400_000_000]},
        }
    ).encode()
    with (base / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 400_000_000)
    if not Path("/proc/self/status").is_file():
        pytest.skip("no /proc: ru_maxrss of a child starts at its parent's, so peaks cannot be told")
    program = f"""
import torch
from pathlib import Path
from gti_cli.tensors.rewrite import Growth, rewrite
from gti_cli.tensors.safetensors_rows import read_tensors
from gti_cli.tensors.matrix_rows import StoredRows
from gti_cli.vocabulary.initializers.from_pretrained_rows import moments
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
base, target = Path({str(base)!r}), Path({str(tmp_path)!r}) / "new"
target.mkdir()
small = StoredRows(read_tensors(base)["embed"], 2)
moments(small)  # what torch allocates once
before = peak()
rows = StoredRows(read_tensors(base)["embed"], 20000)
mean = moments(rows)[0].float()
rewrite(base, target, {{"embed": Growth(100500, torch.arange(100000, 100500), mean.repeat(500, 1), mean)}})
print(peak() - before)
"""
    # Blocks that glibc keeps for reuse by other threads are none of ours, and come and go from run to run.
    own = {**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=own)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    assert grown < 100_000_000, f"{grown:,} bytes"
    assert (tmp_path / "new" / "model.safetensors").stat().st_size > 400_000_000


def test_a_head_that_differs_from_a_tied_embedding_is_said_and_untied(
    tmp_path: Path, words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_checkpoint(tmp_path / "base", tied=False)
    change_config(base, tie_word_embeddings=True)
    extend(str(base), tmp_path / "w", tokens=words, device="cpu")
    assert "the files store another head" in capsys.readouterr().err
    new = tmp_path / "w" / "extended"
    assert json.loads((new / "config.json").read_text())["tie_word_embeddings"] is False
    old_head = load_file(base / "model.safetensors")["lm_head.weight"]
    assert torch.equal(load(new)[0].get_output_embeddings().weight[: len(old_head)], old_head)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_keep_their_number_format(
    dtype: torch.dtype, space: Workspace, checkpoint: Callable[..., Path]
) -> None:
    from safetensors.torch import load_file

    base = checkpoint(dtype=dtype)
    extend(str(base), space.root, device="cpu")
    old, new = load_file(base / "model.safetensors"), load_file(space.path("extended") / "model.safetensors")
    assert old.keys() == new.keys()
    for name, weight in old.items():
        assert new[name].dtype == dtype
        assert torch.equal(new[name][: len(weight)], weight)
    assert json.loads((space.path("extended") / "config.json").read_text())["dtype"] == str(dtype)[6:]


@pytest.mark.parametrize(("reserve", "rows"), [(3, 7), (7, 7), (50, 50)])
def test_rows_in_reserve_are_used_first(
    reserve: int, rows: int, space: Workspace, checkpoint: Callable[..., Path]
) -> None:
    base = checkpoint(reserve=reserve)
    manifest = extend(str(base), space.root, device="cpu")
    model, _ = load(space.path("extended"))
    size = len(make_tokenizer())
    weight = model.get_input_embeddings().weight
    assert len(weight) == size + rows
    torch.testing.assert_close(weight[size : size + 7], weight[:size].mean(0).expand(7, -1))
    old = load(base)[0].get_input_embeddings().weight
    assert torch.equal(weight[size + 7 :], old[size + 7 :])
    assert manifest.counts == {
        "new_tokens": 7,
        "rows_before": size + reserve,
        "rows": size + rows,
        "rows_from_reserve": min(reserve, 7),
    }
