"""Adapters merged by gti compute what peft computes with the adapter beside the model."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.checkpoints.adapters import merging
from gti_cli.checkpoints.adapters.folder import ADAPTER_CONFIG, read_adapter
from gti_cli.checkpoints.adapters.merging import load_merged, merged_embeddings
from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import TensorPlace
from tests.support.adapters import IDS, LAYERS, write_adapter
from tests.support.models import make_model, make_tokenizer

CPU = torch.device("cpu")
ROWS = 48
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "token rows": {"trainable_token_indices": [3, 5, 47]},
    "module copy": {"modules_to_save": ["embed_tokens"]},
    "both copies": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "lora on rows": {"target_modules": [*LAYERS, "embed_tokens"]},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A tied and an untied base model."""
    root = tmp_path_factory.mktemp("bases")
    for tied in (True, False):
        make_model(vocab_size=ROWS, tied=tied).save_pretrained(root / str(tied))
    return {tied: root / str(tied) for tied in (True, False)}


def largest(difference: torch.Tensor) -> float:
    return float(difference.abs().max())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_model_has_the_logits_of_peft(
    bases: dict[bool, Path], tmp_path: Path, kind: str, tied: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM

    base, adapter = bases[tied], tmp_path / "adapter"
    unknown = [name for name in KINDS[kind] if name not in {entry.name for entry in fields(LoraConfig)}]
    if unknown:
        pytest.skip(f"this version of peft makes no such adapter: it has no {', '.join(unknown)}")
    expected = write_adapter(base, adapter, **KINDS[kind])
    with torch.no_grad():
        without = AutoModelForCausalLM.from_pretrained(base)(input_ids=IDS).logits
        merged = load_merged(read_adapter(adapter), str(base), CPU, "auto")
        assert largest(merged(input_ids=IDS).logits - expected) < 1e-4 < largest(without - expected)
        # Saved and read by plain transformers, it is the same model: the configuration says whether it is tied.
        merged.save_pretrained(tmp_path / "merged")
        assert (
            largest(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=IDS).logits - expected) < 1e-4
        )
    stays_tied = tied and kind in ("lora", "token rows", "both copies")
    assert (merged.get_output_embeddings().weight is merged.get_input_embeddings().weight) == stays_tied
    config = json.loads((tmp_path / "merged" / "config.json").read_text("utf-8"))
    assert config["tie_word_embeddings"] == stays_tied
    assert ("two matrices after merging" in capsys.readouterr().err) == (tied and not stays_tied)
    assert all(weight.requires_grad for weight in merged.parameters())

    # A diagnosis sees the same matrices.
    rows = merged_embeddings(read_adapter(adapter), str(base))
    ids = np.arange(ROWS)
    assert np.array_equal(rows.input.rows(ids), merged.get_input_embeddings().weight.detach().numpy())
    assert (rows.output is None) == stays_tied
    if rows.output is not None:
        assert np.array_equal(rows.output.rows(ids), merged.get_output_embeddings().weight.detach().numpy())
    # They are read from the files, without a model, where the adapter leaves them as they are.
    assert isinstance(rows.input, TensorPlace) == (kind == "lora")


def test_rows_that_the_adapter_adds_are_added(bases: dict[bool, Path], tmp_path: Path) -> None:
    grown = ROWS + 3
    by_matrix = write_adapter(bases[True], tmp_path / "matrix", resize=grown)
    rows = {"trainable_token_indices": [48, 49, 50]}
    by_rows = write_adapter(bases[True], tmp_path / "rows", resize=grown, whole_rows=False, **rows)
    by_both = write_adapter(bases[True], tmp_path / "both", resize=grown, **rows)
    for name, expected in (("matrix", by_matrix), ("rows", by_rows), ("both", by_both)):
        merged = load_merged(read_adapter(tmp_path / name), str(bases[True]), CPU, "auto")
        with torch.no_grad():
            assert largest(merged(input_ids=IDS).logits - expected) < 1e-4
        assert merged.config.vocab_size == grown
    write_adapter(bases[True], tmp_path / "gap", resize=grown, whole_rows=False, trainable_token_indices=[48, 50])
    with pytest.raises(
        InputError, match="51 rows of tokens, its base has 48, and nothing holds the row of token id 49"
    ):
        load_merged(read_adapter(tmp_path / "gap"), str(bases[True]), CPU, "auto")


def test_an_adapter_of_another_base_is_refused(bases: dict[bool, Path], tmp_path: Path) -> None:
    write_adapter(bases[True], tmp_path / "adapter")
    others = {
        "width": make_model(vocab_size=ROWS, width=16),
        "fewer layers": make_model(vocab_size=ROWS, num_hidden_layers=1),
        "more layers": make_model(vocab_size=ROWS, num_hidden_layers=3),
        "names": make_model("gpt2", ROWS),
    }
    messages = {
        "width": "does not fit its base",
        "fewer layers": "has weights that its base has no place for",
        "more layers": "lacks weights",
        "names": "does not fit its base",
    }
    for name, model in others.items():
        model.save_pretrained(tmp_path / name)
        with pytest.raises(InputError, match=messages[name]) as caught:
            load_merged(read_adapter(tmp_path / "adapter"), str(tmp_path / name), CPU, "auto")
        assert "--base" in str(caught.value)


def test_a_base_without_the_rows_of_the_new_tokens_is_refused(bases: dict[bool, Path], tmp_path: Path) -> None:
    base, grown = str(bases[True]), tmp_path / "grown"
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<a_0>", "<a_1>"])
    last = max(tokenizer.get_vocab().values())
    assert last >= ROWS
    make_model(vocab_size=last + 1).save_pretrained(grown)
    write_adapter(grown, tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    load_merged(read_adapter(tmp_path / "adapter"), str(grown), CPU, "auto")
    with pytest.raises(InputError, match=f"gives '<a_1>' the id {last}, and its base .* has 48 rows of tokens"):
        load_merged(read_adapter(tmp_path / "adapter"), base, CPU, "auto")
    # The adapter holds the embedding; the head of the base has no row for the tokens that were added.
    write_adapter(grown, tmp_path / "copy", modules_to_save=["embed_tokens"])
    with pytest.raises(InputError, match="nothing holds the rows of the output head from token id 48 on"):
        load_merged(read_adapter(tmp_path / "copy"), base, CPU, "auto")


def test_a_merged_model_with_other_logits_is_refused(
    bases: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_adapter(bases[True], tmp_path / "adapter")
    monkeypatch.setattr(merging, "_merge", lambda adapted, adapter: adapted.unload())
    with pytest.raises(InputError, match="other logits than beside it"):
        load_merged(read_adapter(tmp_path / "adapter"), str(bases[True]), CPU, "auto")


def test_the_weights_keep_the_number_format_that_is_asked_for(bases: dict[bool, Path], tmp_path: Path) -> None:
    expected = write_adapter(bases[True], tmp_path / "adapter", trainable_token_indices=[3, 5])
    merged = load_merged(read_adapter(tmp_path / "adapter"), str(bases[True]), CPU, torch.bfloat16)
    assert {weight.dtype for weight in merged.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        assert largest(merged(input_ids=IDS).logits.float() - expected) < 0.05 * largest(expected)
    config = json.loads((tmp_path / "adapter" / ADAPTER_CONFIG).read_text("utf-8"))
    assert config["trainable_token_indices"] == [3, 5]  # reading changes nothing on the disk
