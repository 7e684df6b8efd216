"""The second phase: every weight trains, by the plain loss; resumable in either phase."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from gti_cli.app import run as gti
from gti_cli.grounding.ground import ground
from gti_cli.grounding.unfreeze import sequence_loss
from gti_cli.prompts.examples import collate
from tests.support.grounding import PAD, examples_of, interrupt, masked_loss, model_of
from tests.support.launch import launch

OPTIONS: dict[str, Any] = {
    "max_steps": 10,
    "directions": "both",
    "unfreeze_steps": 12,
    "batch_size": 8,
    "learning_rate": 0.02,
    "unfreeze_learning_rate": 3e-3,
    "device": "cpu",
}


@pytest.mark.parametrize("kind", ["qwen3", "gemma2", "phi", "cohere", "opt"])
def test_the_loss_is_the_plain_one(kind: str) -> None:
    model = model_of(kind)
    examples = examples_of(9)[0]
    loss, count = sequence_loss(model, model.get_output_embeddings(), collate(examples, PAD))
    assert float((loss / count).detach()) == pytest.approx(float(masked_loss(model, examples).detach()), abs=1e-5)
    assert int(count) == sum(len(example.answer) for example in examples)


def test_every_weight_trains_and_both_phases_are_reported(make_world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world()
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    assert gti(["ground", "-w", str(world.workspace), *options]) == 0
    said = capsys.readouterr()
    assert "rows trained" in said.out and "all trained" in said.out
    assert "pretrained rows change too" in said.err
    before, after = (load_file(world.workspace / name / "model.safetensors") for name in ("extended", "grounded"))
    assert before.keys() == after.keys() and all(not torch.equal(before[name], after[name]) for name in before)
    curve = pq.read_table(world.workspace / "grounded" / "trajectory.parquet").to_pydict()
    assert curve["step"] == list(range(23)) and None not in curve["loss"][1:]
    assert curve["loss_to_tokens"][-1] is not None and curve["loss_to_tokens"][-2] is None


def test_it_lowers_the_loss_further(make_world: Any) -> None:
    world = make_world()
    metrics = ground(world.workspace, **{**OPTIONS, "unfreeze_steps": 40}).metrics
    assert metrics["loss_to_text"] < metrics["loss_to_text_frozen"] < metrics["loss_to_text_before"]
    rest = {name: value for name, value in OPTIONS.items() if not name.startswith("unfreeze")}
    frozen = ground(world.workspace, **rest, name="rows").metrics["loss_to_text"]
    assert frozen == pytest.approx(metrics["loss_to_text_frozen"], abs=1e-6)


@pytest.mark.parametrize("at", [7, 17])
def test_resume_in_either_phase_is_bit_identical(make_world: Any, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    whole, broken = make_world(name="whole"), make_world(name="broken")
    expected = ground(whole.workspace, **OPTIONS)
    calls = interrupt(monkeypatch, "training_step", at)
    with pytest.raises(KeyboardInterrupt):
        ground(broken.workspace, **OPTIONS)
    manifest = ground(broken.workspace, **OPTIONS)
    assert len(calls) == 23  # the step that was interrupted is the only one made twice
    assert manifest.outputs == expected.outputs and manifest.metrics == expected.metrics


def test_two_processes_do_what_one_does(make_world: Any) -> None:
    one, two = make_world(name="one"), make_world(name="two")
    options = {**OPTIONS, "batch_size": 1, "unfreeze_learning_rate": 1e-3, "retrieval_sample": 0}
    expected = ground(one.workspace, **options)
    assert launch(two.workspace, options) == [22, 22]
    curves = [pq.read_table(w.workspace / "grounded" / "trajectory.parquet").to_pydict() for w in (one, two)]
    assert curves[1]["loss"][1:] == pytest.approx(curves[0]["loss"][1:], abs=1e-4)
    assert expected.counts["unfrozen_steps"] == 12
