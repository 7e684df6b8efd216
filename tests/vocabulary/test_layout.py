"""Tensors with a row for each token, found in checkpoints of several layouts."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gti_cli.errors import InputError
from gti_cli.vocabulary.layout import check_nothing_else_grows, check_nothing_is_missing, empty_model, find_layout
from tests.support.models import make_model
from tests.support.vocabulary import KINDS, load, write_checkpoint


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_matrices_are_those_of_the_loaded_model(kind: str, tied: bool, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path, kind, tied=tied)
    layout = find_layout(base)
    model, _ = load(base)
    assert layout is not None and not layout.copies
    expected = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head.weight is not expected[0]:
        expected.append(head.weight)
    assert layout.height == len(expected[0])
    for place, weight in zip(layout.matrices, expected, strict=True):
        assert torch.equal(torch.from_numpy(place.rows(range(layout.height))), weight.detach())
    assert (layout.bias is None) == (head.bias is None)


@pytest.mark.parametrize("differs", [False, True])
def test_a_stored_head_of_a_tied_model_counts_if_it_differs(differs: bool, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path, "llama")
    weights = load_file(base / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + int(differs)
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    layout = find_layout(base)
    assert layout is not None
    assert [place.name for place in layout.copies] == ([] if differs else ["lm_head.weight"])
    assert len(layout.matrices) == (2 if differs else 1)


def test_an_empty_model_has_the_given_size_of_vocabulary(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path, "llama")
    for vocabulary, rows in ((None, 384), (500, 500)):
        weight = empty_model(base, vocabulary).get_input_embeddings().weight
        assert weight.shape == (rows, 32) and weight.is_meta


def test_names_that_the_model_does_not_know_are_left_to_transformers(tmp_path: Path) -> None:
    """Weights of a model without its head: transformers puts the prefix before them, and so do we."""
    base = write_checkpoint(tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    bare = {name.removeprefix("model."): weight for name, weight in weights.items()}
    save_file(bare, base / "model.safetensors", metadata={"format": "pt"})
    layout = find_layout(base)
    assert layout is not None and layout.matrices[0].name == "embed_tokens.weight"
    odd = {name.replace("embed_tokens", "wte"): weight for name, weight in bare.items()}
    save_file(odd, base / "model.safetensors", metadata={"format": "pt"})
    assert find_layout(base) is None


@pytest.mark.parametrize("kind", [*KINDS, "mixtral", "bloom"])
def test_nothing_is_missing_from_whole_checkpoints(kind: str, tmp_path: Path) -> None:
    make_model(kind, 90).save_pretrained(tmp_path)
    check_nothing_is_missing(tmp_path, "here")


@pytest.mark.parametrize(
    ("gone", "strange", "words"),
    [
        (
            "model.layers.1.mlp.up_proj.weight",
            False,
            r"^here: the checkpoint lacks the weights model\.layers\.1\.mlp\.up",
        ),
        ("model.norm.weight", False, "lacks the weights model.norm.weight. Download"),
        ("model.layers.0.mlp.up_proj.weight", True, "lacks the weights"),  # layer 1 has it
        ("model.norm.weight", True, None),  # the strange tensor may be it, under another name
    ],
)
def test_a_missing_weight_is_noticed(gone: str, strange: bool, words: str | None, tmp_path: Path) -> None:
    make_model("llama", 90).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weight = weights.pop(gone)
    weights |= {"norm_of_another_time": weight} if strange else {}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=words) if words else nullcontext():
        check_nothing_is_missing(tmp_path, "here")


def test_architectures_with_more_over_their_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_checkpoint(tmp_path / "base", "llama")
    check_nothing_else_grows(base, 500)
    monkeypatch.setattr("gti_cli.vocabulary.layout._vocabulary_tensors", lambda _: {})
    with pytest.raises(InputError, match=r"a further tensor with a row for each token, 'model\.embed_tokens\.weight'"):
        check_nothing_else_grows(base, 500)
