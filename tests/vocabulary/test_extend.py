from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_tokenizer

from gti_cli import tables
from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.vocabulary.extend import add_tokens, extend, head_bias, matrices
from gti_cli.vocabulary.initializers import INITIALIZERS
from gti_cli.vocabulary.meaning import Meanings
from gti_cli.vocabulary.tokens import all_names, read_new_tokens, semantic_id
from gti_cli.workspace import Workspace

SIZES = [4, 3]
NAMES = all_names(SIZES)
KINDS = {
    "qwen3": {},
    "llama": {},
    "mistral": {},
    "gemma": {},
    "gemma2": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": {},
}


def lm(kind: str, vocab: int, tied: bool, dtype: torch.dtype = torch.float32) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {
        "vocab_size": vocab,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 2,
        **KINDS[kind],
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields)).to(dtype).eval()
    if head_bias(model) is not None:
        torch.nn.init.normal_(head_bias(model))  # type: ignore[arg-type]
    return model


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace with semantic IDs."""
    space = Workspace(tmp_path / "space")
    codes = np.array([[a, b] for a in range(4) for b in range(3)], dtype=np.int32)
    with space.stage("build-ids", "semantic_ids", ["semantic_ids.parquet"], options={}) as run:
        columns = {
            "item_id": [f"i{n}" for n in range(12)],
            "codes": codes.tolist(),
            "tokens": [semantic_id(row) for row in codes],
        }
        tables.write(run.path("semantic_ids.parquet"), columns)
        run.details.update(levels=2, sizes=SIZES, token_style="lc-rec", identity="ids")
    return space


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a model, with ``reserve`` rows more than its tokenizer has tokens."""

    def make(kind: str = "qwen3", *, tied: bool = True, reserve: int = 0, dtype: torch.dtype = torch.float32) -> Path:
        folder, tokenizer = tmp_path / "base", make_tokenizer()
        lm(kind, len(tokenizer) + reserve, tied, dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


def load(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer by plain transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = tokenizer("A blue denim jacket with brass buttons", return_tensors="pt").input_ids
    with torch.no_grad():
        found: torch.Tensor = model(ids).logits
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_old_logits_stay_and_new_rows_are_the_mean(
    kind: str, tied: bool, space: Workspace, checkpoint: Callable[..., Path]
) -> None:
    base = checkpoint(kind, tied=tied)
    old_model, old_tokenizer = load(base)
    manifest = extend(str(base), space.root, device="cpu")
    model, tokenizer = load(space.path("extended"))
    size = len(old_tokenizer)
    assert model.get_input_embeddings().weight.shape[0] == size + len(NAMES) == len(tokenizer)
    # A wider product may be summed in another order: the weights are the same to the bit, logits to a rounding.
    torch.testing.assert_close(
        logits(model, tokenizer)[..., :size], logits(old_model, old_tokenizer), rtol=0, atol=1e-6
    )
    for name, weight in old_model.state_dict().items():
        grown = model.state_dict()[name]
        assert torch.equal(grown[: len(weight)] if weight.ndim else grown, weight), name
    for matrix in matrices(model):
        expected = matrix[:size].double().mean(0).float()
        torch.testing.assert_close(matrix[size:], expected.expand(len(NAMES), -1))
    if (bias := head_bias(model)) is not None:
        torch.testing.assert_close(bias[size:], bias[:size].mean().expand(len(NAMES)))
    assert model.config.vocab_size == len(tokenizer)
    assert manifest.details["base_vocab"] == size
    assert manifest.details["semantic_ids"] == "ids"
    assert manifest.details["new_tokens_sha256"] == read_new_tokens(space.path("extended")).digest


def test_each_token_is_one_id_inside_text_and_comes_back(space: Workspace, checkpoint: Callable[..., Path]) -> None:
    extend(str(checkpoint()), space.root, device="cpu")
    _, tokenizer = load(space.path("extended"))
    new = read_new_tokens(space.path("extended"))
    known = dict(zip(new.names, new.ids.tolist(), strict=True))
    assert list(known) == NAMES
    for text in ("<a_1><b_2>", "see <a_1> <b_2>.", "x<a_1>y <b_2>", " <a_1>  <b_2> ", "<a_1>\n<b_2>", "(<a_1>,<b_2>)"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert [n for n in ids if n in known.values()] == [known["<a_1>"], known["<b_2>"]]
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    for name, number in known.items():
        assert tokenizer(name, add_special_tokens=False).input_ids == [number]
    # Text that only looks alike stays what it was.
    plain = make_tokenizer()
    assert tokenizer("<a_7> <b_3", add_special_tokens=False).input_ids == plain("<a_7> <b_3").input_ids


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


def test_other_vocabularies(tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    tables.write(tmp_path / "words.parquet", {"token": ["<zorp>", "blick", "é→"], "description": ["a", "b", "c"]})
    manifest = extend(str(checkpoint()), tmp_path / "w", tokens=tmp_path / "words.parquet", device="cpu")
    _, tokenizer = load(tmp_path / "w" / "extended")
    new = read_new_tokens(tmp_path / "w" / "extended")
    assert new.names == ["<zorp>", "blick", "é→"]
    assert set(new.levels) == set(new.codes) == {-1}
    assert manifest.details["semantic_ids"] is None
    ids = tokenizer("a blick é→<zorp>").input_ids
    assert set(new.ids.tolist()) <= set(ids)
    assert tokenizer.decode(ids) == "a blick é→<zorp>"


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, space: Workspace, checkpoint: Callable[..., Path]) -> None:
    base = str(checkpoint())
    bytes_of = []
    for seed in (0, 0, 1):
        extend(base, space.root, init="random", seed=seed, force=True, device="cpu")
        bytes_of.append((space.path("extended") / "model.safetensors").read_bytes())
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]


@pytest.mark.parametrize("init", INITIALIZERS)
def test_untied_matrices_start_each_from_their_own_rows(init: str) -> None:
    tokenizer = make_tokenizer()
    size = len(tokenizer)
    model = lm("llama", size, tied=False)
    with torch.no_grad():
        model.get_output_embeddings().weight.add_(3)
    add_tokens(model, tokenizer, Meanings(NAMES), init, torch.Generator().manual_seed(0))
    embedding, head = matrices(model)
    assert (embedding[size:].mean() - embedding[:size].mean()).abs() < 0.5
    assert (head[size:].mean() - head[:size].mean()).abs() < 0.5


def test_known_tokens_are_refused(space: Workspace, checkpoint: Callable[..., Path]) -> None:
    extend(str(checkpoint()), space.root, device="cpu")
    with pytest.raises(InputError, match="has these tokens already: '<a_0>'"):
        extend("extended", space.root, name="again", device="cpu")
    assert not space.path("again").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--init", "magic"], "--init 'magic' is not known"),
        (["--model", "/no/such/folder"], "no such folder"),
        (["--tokens", "nowhere.csv"], "no such file"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str],
    message: str,
    space: Workspace,
    checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = options if "--model" in options else ["--model", str(checkpoint()), *options]
    assert run(["extend", "-w", str(space.root), *given]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not space.path("extended").exists()


def test_without_semantic_ids(tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="gti build-ids"):
        extend(str(checkpoint()), tmp_path / "empty")


def test_duplicate_tokens_in_the_file(tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    (tmp_path / "t.csv").write_text("token\nx\nx\n")
    with pytest.raises(InputError, match="duplicate id 'x'"):
        extend(str(checkpoint()), tmp_path / "w", tokens=tmp_path / "t.csv")


def test_command(space: Workspace, checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    line = ["extend", "--model", str(checkpoint()), "-w", str(space.root), "--device", "cpu"]
    assert run(line) == 0
    assert "Extended base" in capsys.readouterr().out
    assert run([*line, "--json"]) == 0  # done already: the manifest is printed all the same
    captured = capsys.readouterr()
    assert json.loads(captured.out)["counts"]["new_tokens"] == 7
    assert "up to date" in captured.err
    assert run([*line, "--init", "random"]) == 2
    assert "--force" in capsys.readouterr().err
