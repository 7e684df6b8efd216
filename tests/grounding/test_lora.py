"""Grounding together with LoRA: merged, so that plain transformers computes what was measured; old rows untouched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gti_cli.app import run as gti
from gti_cli.grounding.ground import ground
from tests.support.grounding import held_out_by_hand, interrupt
from tests.support.launch import launch

OPTIONS: dict[str, Any] = {
    "lora": True,
    "lora_dropout": 0.1,
    "lora_learning_rate": 5e-3,
    "max_steps": 20,
    "directions": "both",
    "batch_size": 8,
    "learning_rate": 0.02,
    "held_out": 0.2,
    "device": "cpu",
}


@pytest.mark.parametrize(
    ("kind", "tied", "dtype"),
    [("qwen3", True, torch.float32), ("phi", False, torch.float32), ("llama", False, torch.bfloat16)],
)
def test_only_new_rows_and_projections_change(make_world: Any, kind: str, tied: bool, dtype: Any) -> None:
    world = make_world(kind, tied=tied, dtype=dtype)
    manifest = ground(world.workspace, **OPTIONS)
    before, after = (load_file(world.workspace / n / "model.safetensors") for n in ("extended", "grounded"))
    assert before.keys() == after.keys()
    old = torch.ones(len(before["model.embed_tokens.weight"]), dtype=torch.bool)
    old[torch.tensor(world.tokens.ids)] = False
    for name, weight in before.items():
        assert after[name].dtype == dtype
        if name.startswith(("model.embed_tokens", "lm_head")):
            assert torch.equal(weight[old], after[name][old]) and not torch.equal(weight[~old], after[name][~old])
        else:
            assert torch.equal(weight, after[name]) == (not name.endswith("_proj.weight")), name
    if dtype == torch.float32:
        for name, value in held_out_by_hand(world, "grounded").items():
            assert manifest.metrics[name] == pytest.approx(value, abs=1e-4), name
    assert manifest.options["lora_r"] == 8


def test_adapters_help(make_world: Any) -> None:
    world = make_world()
    with_lora = ground(world.workspace, **OPTIONS).metrics["loss_to_text"]
    rest = {name: value for name, value in OPTIONS.items() if not name.startswith("lora")}
    without = ground(world.workspace, **rest, name="rows").metrics["loss_to_text"]
    assert with_lora < without


def test_resume_is_bit_identical_with_dropout(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = make_world(name="whole"), make_world(name="broken")
    options = {**OPTIONS, "patience": 2, "unfreeze_steps": 3}
    expected = ground(whole.workspace, **options)
    interrupt(monkeypatch, "training_step", 13)
    with pytest.raises(KeyboardInterrupt):
        ground(broken.workspace, **options)
    manifest = ground(broken.workspace, **options)
    assert manifest.outputs == expected.outputs and manifest.metrics == expected.metrics


def test_two_processes_do_what_one_does(make_world: Any) -> None:
    one, two = make_world(name="one"), make_world(name="two")
    options = {**OPTIONS, "lora_dropout": 0.0, "max_steps": 6, "batch_size": 7, "retrieval_sample": 0}
    ground(one.workspace, **options)
    assert launch(two.workspace, options) == [6, 6]
    weights = [load_file(w.workspace / "grounded" / "model.safetensors") for w in (one, two)]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=0, atol=1e-4)


def test_a_model_without_layers_for_adapters(make_world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world("gpt_neox")
    assert gti(["ground", "-w", str(world.workspace), "--lora", "--max-steps", "2", "--device", "cpu"]) == 2
    assert "--lora knows none of the layers of GPTNeoX" in capsys.readouterr().err
    assert not (world.workspace / "grounded").exists()
