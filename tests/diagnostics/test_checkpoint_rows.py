import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gti_cli.diagnostics.checkpoint_rows import read_checkpoint
from gti_cli.errors import InputError
from tests.support.diagnostics import SIZES, make_extended
from tests.support.models import make_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_reads_what_transformers_loads(tmp_path, dtype, tied):
    from transformers import AutoModelForCausalLM

    folder = make_extended(tmp_path / "x", dtype=dtype, tied=tied, output=None if tied else "scattered")
    rows = read_checkpoint(folder, least_sample=40)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    matrices = {"input": model.get_input_embeddings().weight, "output": model.get_output_embeddings().weight}
    assert list(rows.matrices) == (["input"] if tied else ["input", "output"])
    for name, read in rows.matrices.items():
        assert np.array_equal(read.new, matrices[name][torch.tensor(rows.tokens.ids)].detach().numpy())
        assert np.array_equal(read.pretrained, matrices[name][torch.tensor(rows.sample)].detach().numpy())
    assert len(rows.sample) == 40
    assert not set(rows.sample.tolist()) & set(rows.tokens.ids.tolist())


def test_sharded_checkpoints_read_the_same(tmp_path):
    whole = read_checkpoint(make_extended(tmp_path / "whole"))
    folder = make_extended(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert read_checkpoint(folder).digest == whole.digest


def test_no_model_is_built_and_no_torch_imported(tmp_path):
    import subprocess
    import sys

    folder = make_extended(tmp_path / "x")
    code = (
        "import sys; from pathlib import Path; from gti_cli.diagnostics.diagnose import diagnose\n"
        f"diagnose([{str(folder)!r}], {str(tmp_path / 'ws')!r}, plot=True)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_sample_depends_on_the_seed_alone(tmp_path):
    folder = make_extended(tmp_path / "x")
    first, again, other = (read_checkpoint(folder, least_sample=30, seed=seed) for seed in (0, 0, 1))
    assert first.digest == again.digest
    assert set(first.sample) != set(other.sample)


def test_nan_rows_are_named(tmp_path):
    folder = make_extended(tmp_path / "x")
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][-2] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"'<c_4>'.*NaN"):
        read_checkpoint(folder)


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_checkpoint(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file, not a checkpoint"):
        read_checkpoint(tmp_path / "file")
    with pytest.raises(InputError, match=r"no config\.json"):
        read_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="JSON"):
        read_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="JSON object"):
        read_checkpoint(tmp_path)


def test_other_ways_to_say_what_is_new(tmp_path):
    ours = read_checkpoint(make_extended(tmp_path / "ours"))
    folder = make_extended(tmp_path / "x", ours=False)
    base = int(ours.tokens.ids.min())
    for options in ({"base_vocab": base}, {"tokens_from": r"<[abc]_\d+>"}):
        rows = read_checkpoint(folder, **options)
        assert rows.tokens.names == ours.tokens.names
        assert np.array_equal(rows.tokens.levels, np.repeat([0, 1, 2], SIZES))
        assert np.array_equal(rows.matrices["input"].new, ours.matrices["input"].new)


def test_padding_rows_are_neither_new_nor_pretrained(tmp_path):
    folder = make_extended(tmp_path / "x", ours=False)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    used = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(used + 30, mean_resizing=False)
    model.save_pretrained(folder)
    rows = read_checkpoint(folder, base_vocab=used - sum(SIZES))
    assert len(rows.tokens.ids) == sum(SIZES)
    assert rows.pretrained.max() < used - sum(SIZES)


def test_a_model_without_tokenizer_needs_the_base_vocabulary(tmp_path):
    model = make_model(vocab_size=60)
    model.save_pretrained(tmp_path)
    rows = read_checkpoint(tmp_path, base_vocab=50)
    assert rows.tokens.names[0] == "id 50"
    assert len(rows.tokens.ids) == 10
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        read_checkpoint(tmp_path, tokens_from="<.*>")


def test_a_large_file_is_not_read_whole(tmp_path):
    """151,936 x 4,096 bfloat16, 1.2 GB as a sparse file: inputs 64 new rows and a sample takes a few of its rows."""
    import tracemalloc

    height, width, new = 151_936, 4096, 64
    tensor = {"dtype": "BF16", "shape": [height, width], "data_offsets": [0, 2 * height * width]}
    header = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.seek(2 * (height - new) * width, 1)
        file.write(np.full((new, width), 0x3F80, dtype="<u2").tobytes())  # 1.0
    config = {"vocab_size": height, "hidden_size": width, "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tracemalloc.start()
    rows = read_checkpoint(tmp_path, base_vocab=height - new, least_sample=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (rows.matrices["input"].new == 1).all()
    assert (rows.matrices["input"].pretrained == 0).all()
    assert peak < 60_000_000
