"""The stage `gti extend` as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli import tables
from gti_cli.app import run
from gti_cli.checkpoints.new_tokens import read_new_tokens
from gti_cli.checkpoints.token_names import all_names
from gti_cli.errors import InputError
from gti_cli.geometry.spectrum import effective_rank
from gti_cli.prompts.thoughts import CONVERSATION, prompt_form
from gti_cli.vocabulary.extend import extend
from gti_cli.vocabulary.in_memory import head_bias, matrices
from gti_cli.workspace import Workspace
from tests.support.models import make_tokenizer
from tests.support.thinking import THINKING
from tests.support.vocabulary import CODES, SIZES, TEXTS, load, write_semantic_ids, write_words

NAMES = all_names(SIZES)


@pytest.mark.parametrize(("kind", "tied"), [("qwen3", True), ("phi", False)])
def test_new_rows_are_the_mean(kind: str, tied: bool, space: Workspace, checkpoint: Callable[..., Path]) -> None:
    base = checkpoint(kind, tied=tied)
    manifest = extend(str(base), space.root, device="cpu")
    model, tokenizer = load(space.path("extended"))
    size = len(tokenizer) - len(NAMES)
    for matrix in matrices(model):
        expected = matrix[:size].double().mean(0).float()
        torch.testing.assert_close(matrix[size:], expected.expand(len(NAMES), -1))
    if (bias := head_bias(model)) is not None:
        torch.testing.assert_close(bias[size:], bias[:size].mean().expand(len(NAMES)))
    assert manifest.details["base_vocab"] == size
    assert manifest.details["semantic_ids"] == "ids"
    assert manifest.details["new_tokens_sha256"] == read_new_tokens(space.path("extended")).digest


def test_metrics_describe_the_new_rows(space: Workspace, checkpoint: Callable[..., Path]) -> None:
    base = checkpoint("llama", tied=False)
    found = extend(str(base), space.root, init="random", device="cpu").metrics
    model, tokenizer = load(space.path("extended"))
    size = len(tokenizer) - len(NAMES)
    for prefix, matrix in zip(("", "head_"), matrices(model), strict=True):
        rows = matrix.detach().double()
        assert found[f"{prefix}new_rows_norm"] == pytest.approx(float(rows[size:].norm(dim=1).mean()), rel=1e-5)
        assert found[f"{prefix}pretrained_rows_norm"] == pytest.approx(float(rows[:size].norm(dim=1).mean()), rel=1e-5)
        assert found[f"{prefix}new_rows_effective_rank"] == pytest.approx(effective_rank(rows[size:].numpy()), rel=1e-5)
    assert 0 < found["new_tokens_share"] < 1


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


@pytest.mark.parametrize("described", [True, False])
def test_the_default_start_is_taken_and_recorded(
    described: bool, tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    columns = {"token": ["<zorp>", "<blick>"], "description": ["a red silk dress", "blue denim"]}
    tables.write(tmp_path / "words.parquet", columns if described else {"token": columns["token"]})
    base = str(checkpoint())
    files = []
    for name, init in (("extended", None), ("explicit", "text" if described else "mean")):
        manifest = extend(base, tmp_path / "w", tokens=tmp_path / "words.parquet", name=name, init=init, device="cpu")
        assert manifest.options["init"] == manifest.details["initializer"] == ("text" if described else "mean")
        files.append((tmp_path / "w" / name / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, space: Workspace, checkpoint: Callable[..., Path]) -> None:
    base = str(checkpoint())
    bytes_of = []
    for seed in (0, 0, 1):
        extend(base, space.root, init="random", seed=seed, force=True, device="cpu")
        bytes_of.append((space.path("extended") / "model.safetensors").read_bytes())
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]


def test_tokens_that_the_model_has_already_are_refused(space: Workspace, checkpoint: Callable[..., Path]) -> None:
    extend(str(checkpoint()), space.root, device="cpu")
    with pytest.raises(InputError, match="has these tokens already: '<a_0>'"):
        extend("extended", space.root, name="again", device="cpu")
    assert not space.path("again").exists()


def test_tokenizer_in_which_no_answer_can_end_is_refused(space: Workspace, checkpoint: Callable[..., Path]) -> None:
    base = checkpoint()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (base / name).read_text().replace("<|im_end|>", "<|over|>").replace('"eos_token"', '"sep_token"')
        (base / name).write_text(text)
    with pytest.raises(InputError, match=f"^{base}: the tokenizer has no end-of-sequence token.*tokenizer_config.json"):
        extend(str(base), space.root, device="cpu")
    assert not space.path("extended").exists()


@pytest.mark.parametrize("by_path", [False, True])
def test_a_checkpoint_does_not_replace_itself(
    space: Workspace, checkpoint: Callable[..., Path], tmp_path: Path, by_path: bool
) -> None:
    first = extend(str(checkpoint()), space.root, device="cpu")
    tables.write(tmp_path / "words.parquet", {"token": ["<new>"]})
    model = str(space.path("extended")) if by_path else "extended"
    with pytest.raises(InputError, match="--name 'extended' is the checkpoint to start from"):
        extend(model, space.root, tokens=tmp_path / "words.parquet", force=True, device="cpu")
    assert space.require("extended", "gti extend").digest == first.digest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--init", "magic"], "--init 'magic' is not known"),
        (["--distance", "0"], "--distance 0.0 is not a positive number"),
        (["--distance", "nan"], "--distance nan is not a positive number"),
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
    with pytest.raises(InputError, match="duplicate token 'x'"):
        extend(str(checkpoint()), tmp_path / "w", tokens=tmp_path / "t.csv")


def test_descriptions_become_rows_through_the_command(tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    from transformers import AutoModelForCausalLM

    base = checkpoint("llama", tied=False)
    tables.write(tmp_path / "t.parquet", {"token": ["<x>", "coat"], "description": ["red dress", "grey wool coat"]})
    line = ["extend", "--model", str(base), "-w", str(tmp_path / "w"), "--tokens", str(tmp_path / "t.parquet")]
    assert run([*line, "--init", "subword", "--device", "cpu"]) == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "w" / "extended")
    # `coat` is one of the new tokens and must not describe itself.
    pieces = make_tokenizer()("grey wool coat", add_special_tokens=False)["input_ids"]
    for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        torch.testing.assert_close(weight[-1], weight[pieces].mean(0))
    assert run([*line, "--init", "codebook", "--force"]) == 2


@pytest.mark.parametrize(
    ("levels", "init", "problem"),
    [(3, "codebook", None), (2, "codebook", "7 vectors for 9 codes .*'<c_0>', '<c_1>'"), (2, None, None)],
)
def test_ids_with_a_level_for_collisions(
    levels: int, init: str | None, problem: str | None, tmp_path: Path, checkpoint: Callable[..., Path]
) -> None:
    """`build-ids --collisions suffix` adds a level. A file without its codebook stops --init codebook and no other."""
    space = Workspace(tmp_path / "w")
    codes = np.column_stack([CODES, [0, 0, 1, 1, 0, 1]]).astype(np.int32)
    rng = np.random.default_rng(0)
    codebooks = [rng.normal(size=(size, 6)) for size in (4, 3, 2)[:levels]]
    write_semantic_ids(space, codes, [4, 3, 2], texts=TEXTS, codebooks=codebooks)
    if problem is not None:
        with pytest.raises(InputError, match=problem):
            extend(str(checkpoint()), space.root, init=init, device="cpu", measure_effect=False)
        assert not space.path("extended").exists()
        return
    manifest = extend(str(checkpoint()), space.root, init=init, device="cpu", measure_effect=False)
    assert manifest.details["initializer"] == (init or "text-lstsq")
    assert read_new_tokens(space.path("extended")).names == all_names([4, 3, 2])
    model, _ = load(space.path("extended"))
    assert torch.isfinite(model.get_input_embeddings().weight).all()


@pytest.mark.parametrize("way", ["file by file", "in memory"])
def test_a_checkpoint_that_was_written_wrong_is_not_kept(
    way: str, space: Workspace, checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import PreTrainedModel

    from gti_cli.tensors import rewrite as rewrite_module

    def damage(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)

    base = checkpoint()
    if way == "in memory":  # names that the model does not know
        weights = load_file(base / "model.safetensors")
        save_file({f"base.{name}": weight for name, weight in weights.items()}, base / "model.safetensors")
        monkeypatch.setattr("gti_cli.vocabulary.extend.load_model", lambda *_: load_as(base, weights))
        save = PreTrainedModel.save_pretrained
        monkeypatch.setattr(
            PreTrainedModel,
            "save_pretrained",
            lambda self, folder: (save(self, folder), damage(folder / "model.safetensors")),
        )
    else:
        write = rewrite_module._rewrite_file
        monkeypatch.setattr(rewrite_module, "_rewrite_file", lambda *given: (write(*given), damage(given[1]))[0])
    with pytest.raises(InputError, match="was written with other"):
        extend(str(base), space.root, device="cpu")
    assert not space.path("extended").exists()
    assert not list((space.root / ".gti" / "staging").glob("*"))


def load_as(base: Path, weights: dict[str, torch.Tensor]) -> Any:
    """The model of a folder, from weights whose names its files have lost."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    model.load_state_dict(weights, strict=False)
    return model


def test_a_reasoning_model_is_asked_alike_by_all_later_stages(
    space: Workspace, checkpoint: Callable[..., Path]
) -> None:
    base = checkpoint()
    (base / "chat_template.jinja").write_text(THINKING["r1"][0])
    extend(str(base), space.root, device="cpu")
    assert prompt_form(load(space.path("extended"))[1]) == CONVERSATION
    # A checkpoint that had new tokens before is asked as it was trained.
    extended = shutil.copytree(space.path("extended"), space.root.parent / "before")
    config = json.loads((extended / "tokenizer_config.json").read_text())
    del config["gti_prompt"]
    (extended / "tokenizer_config.json").write_text(json.dumps(config))
    extend(str(extended), space.root, tokens=write_words(extended.parent), name="again", device="cpu", init="mean")
    assert prompt_form(load(space.path("again"))[1]) is None
