"""`gti ground --objective distil`: what it trains, reports and refuses, and that it can be interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from gti_cli import tables
from gti_cli.app import run as gti
from gti_cli.errors import InputError
from gti_cli.grounding.distil import task as distil_task
from gti_cli.grounding.distil.contexts import NEUTRAL
from gti_cli.grounding.ground import ground
from gti_cli.grounding.plot import draw
from gti_cli.training.trainer import PlannedTrainer
from gti_cli.workspace.manifest import digest_path
from tests.support.grounding import PHRASES

STEPS = {"objective": "distil", "max_steps": 20, "batch_size": 8, "learning_rate": 0.02, "held_out": 0.2}
STEPS |= {"device": "cpu"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("kind", "tied", "weight", "expected"),
    [
        ("qwen3", True, 0.0, {"model.embed_tokens.weight"}),
        ("phi", False, 0.0, {"model.embed_tokens.weight"}),
        ("phi", False, 0.5, {"model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"}),
    ],
)
def test_only_new_rows_change(make_words: Any, kind: str, tied: bool, weight: float, expected: set[str]) -> None:
    words = make_words(kind, tied=tied)
    manifest = ground(words.workspace, pairs=words.pairs, distil_nll_weight=weight, **STEPS)
    before, after = weights(words.workspace / "extended"), weights(words.workspace / "grounded")
    new = pq.read_table(words.workspace / "grounded" / "new_tokens.parquet").column("id").to_pylist()
    assert {name for name in before if not torch.equal(before[name], after[name])} == expected
    for name in expected:
        moved = (before[name] != after[name]).reshape(len(before[name]), -1).any(1)
        assert moved.nonzero().flatten().tolist() == sorted(new), name
    metrics = manifest.metrics
    for name in ("hidden_distance", "hidden_mse", "held_out_loss"):
        assert 0 < metrics[name] < metrics[f"{name}_before"], name
    assert "loss_following_phrase" in metrics and "loss_following_phrase_before" not in metrics
    if weight:
        assert metrics["loss_token"] < metrics["loss_token_before"]


def test_manifest_contexts_and_plain_loading(make_words: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = make_words()
    manifest = ground(words.workspace, pairs=words.pairs, **STEPS)
    counts = manifest.counts
    assert counts["contexts_template"] == 3 * len(NEUTRAL) and counts["contexts_sampled"] == 0
    assert counts["held_out_contexts"] == counts["held_out_examples"] == round(0.2 * 3 * len(NEUTRAL))
    assert counts["train_contexts"] + counts["held_out_contexts"] == 3 * len(NEUTRAL) - counts["contexts_unusable"]
    assert manifest.options["objective"] == "distil" and "directions" not in manifest.options
    table = pq.read_table(words.workspace / "grounded" / distil_task.CONTEXTS).to_pydict()
    assert sum(table["held_out"]) == counts["held_out_contexts"]
    trained = {tokens for tokens, held in zip(table["tokens"], table["held_out"], strict=True) if not held}
    assert trained == set(PHRASES)
    curve = pq.read_table(words.workspace / "grounded" / "trajectory.parquet").to_pydict()
    assert curve["hidden_distance"][0] == manifest.metrics["hidden_distance_before"]
    assert curve["hidden_distance"][-1] == pytest.approx(manifest.metrics["hidden_distance"])
    model = AutoModelForCausalLM.from_pretrained(words.workspace / "grounded")
    tokenizer = AutoTokenizer.from_pretrained(words.workspace / "grounded")
    assert torch.isfinite(model(torch.tensor([tokenizer("A <frock>.")["input_ids"]])).logits).all()
    assert ground(words.workspace, pairs=words.pairs, **STEPS).digest == manifest.digest


def test_snippets_are_used_and_the_same_seed_gives_the_same_bytes(make_words: Any) -> None:
    worlds = [make_words(name=f"w{n}") for n in range(3)]
    found = [
        ground(words.workspace, pairs=worlds[0].pairs, distil_snippets=2, seed=int(n == 2), **{**STEPS, "max_steps": 4})
        for n, words in enumerate(worlds)
    ]
    outputs = [manifest.outputs["grounded"] for manifest in found]
    assert outputs[0] == outputs[1] != outputs[2]
    counts = found[0].counts
    assert counts["contexts_sampled"] + counts["snippets_empty"] == 2 * 3 and counts["snippet_tokens"] == 32


def test_resume_is_bit_identical_and_samples_once(make_words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = make_words(name="whole"), make_words(name="broken")
    options = {**STEPS, "distil_snippets": 2, "pairs": whole.pairs}
    expected = ground(whole.workspace, **options)
    step, calls, sampled = PlannedTrainer.training_step, [], []
    sample = distil_task.sample_snippets

    def stop_at_13(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return step(self, *args, **more)

    def counting(*args: Any) -> Any:
        sampled.append(1)
        return sample(*args)

    monkeypatch.setattr(PlannedTrainer, "training_step", stop_at_13)
    monkeypatch.setattr(distil_task, "sample_snippets", counting)
    with pytest.raises(KeyboardInterrupt):
        ground(broken.workspace, **options)
    manifest = ground(broken.workspace, **options)
    assert len(calls) < 13 + 20 and len(sampled) == 1
    assert manifest.outputs == expected.outputs and manifest.metrics == expected.metrics


def test_one_context_for_each_phrase_is_never_held_out(make_words: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = make_words(context=["A {} for the weekend.", "She rents a {}.", "The {} fit."])
    manifest = ground(words.workspace, pairs=words.pairs, **STEPS)
    assert manifest.counts["held_out_contexts"] == 0 and manifest.counts["train_contexts"] == 3
    assert "hidden_distance" not in manifest.metrics and "one context only" in capsys.readouterr().err
    with pytest.raises(InputError, match="no held-out loss that --patience could watch"):
        ground(words.workspace, pairs=words.pairs, patience=1, name="other", **STEPS)


def test_patience_keeps_the_best_rows(make_words: Any) -> None:
    words = make_words()
    options = {**STEPS, "learning_rate": 2.0, "max_steps": 60, "eval_every": 2, "patience": 3}
    manifest = ground(words.workspace, pairs=words.pairs, **options)
    assert manifest.metrics["stopping"]["stopped"] and manifest.counts["steps"] < 60
    assert manifest.metrics["held_out_loss"] == pytest.approx(manifest.metrics["stopping"]["best_loss"])


def test_gradient_checkpointing_comes_to_the_same(make_words: Any) -> None:
    words = make_words()
    found = [
        ground(words.workspace, pairs=words.pairs, name=f"g{way}", gradient_checkpointing=way, **STEPS).metrics
        for way in (False, True)
    ]
    assert found[1] == pytest.approx(found[0], abs=1e-4)


def test_the_command_prints_distances(make_words: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = make_words()
    command = ["ground", "-w", str(words.workspace), "--pairs", str(words.pairs), "--objective", "distil"]
    command += ["--max-steps", "3", "--device", "cpu", "-q", "--distil-snippets", "1", "--distil-layer", "1"]
    capsys.readouterr()
    assert gti(command) == 0
    said = capsys.readouterr().out
    for part in ("distance of hidden states", "loss of the text after", "contexts sampled", "held-out contexts"):
        assert part in said
    curve = pq.read_table(words.workspace / "grounded" / "trajectory.parquet").to_pydict()
    panels = [axis.get_title() for axis in draw(curve, "Words").axes if axis.get_title()]
    assert panels[:3] == ["Loss", "Hidden states: token from phrase (held-out)", "Text that follows (held-out)"]
    assert gti([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["options"]["distil_layer"] == 1


BAD = {
    "layer": ({"distil_layer": 9}, "--distil-layer is 9"),
    "an option": ({"lora": True}, "--lora goes with --objective nll"),
    "no pairs": ({"pairs": None}, "needs phrases"),
    "prompts": ({"prompts": "p.json"}, "uses no prompts"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options(make_words: Any, case: str) -> None:
    options, message = BAD[case]
    words = make_words()
    before = digest_path(words.workspace / "extended")
    with pytest.raises(InputError, match=message):
        ground(words.workspace, **{"pairs": words.pairs, **STEPS, **options})
    assert not (words.workspace / "grounded").exists() and digest_path(words.workspace / "extended") == before


def test_codes_of_semantic_ids_are_refused(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    pairs = tmp_path / "pairs.parquet"
    tables.write(pairs, {"text": ["red dress"], "tokens": [world.items[0][2]]})
    with pytest.raises(InputError, match="trains tokens that stand for a phrase; this checkpoint's tokens are codes"):
        ground(world.workspace, pairs=pairs, **STEPS)
    assert not (world.workspace / "grounded").exists()
