"""The curve of a run: what is measured along the way, against plain computations, and its picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gti_cli.app import run as gti
from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.diagnostics.measure import rsa_figures
from gti_cli.grounding.geometry import comparable_vectors, describe
from gti_cli.grounding.ground import ground
from gti_cli.tensors.codebooks import read_codebooks
from tests.support.grounding import held_out_by_hand

STEPS = {
    "max_steps": 24,
    "batch_size": 8,
    "learning_rate": 0.02,
    "device": "cpu",
    "held_out": 0.2,
    "directions": "both",
}


def test_figures_before_and_after_are_those_of_plain_computations(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, **STEPS)
    assert manifest.counts["held_out_examples_to_tokens"] == manifest.counts["held_out_pairs"] == 7
    for checkpoint, suffix in (("extended", "_before"), ("grounded", "")):
        for name, value in held_out_by_hand(world, checkpoint).items():
            assert manifest.metrics[name + suffix] == pytest.approx(value, abs=1e-4), name


def test_the_curve_begins_before_the_first_step_and_ends_with_the_last(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, eval_every=5, **STEPS)
    curve = pq.read_table(world.workspace / "grounded" / "trajectory.parquet").to_pydict()
    assert curve["step"] == list(range(25))
    assert curve["loss"][0] is None and np.isfinite(curve["loss"][1:]).all()
    names = ("loss_to_tokens", "loss_to_text", "accuracy_level_0", "effective_rank", "rsa_pearson", "rsa_spearman")
    for name in names:
        assert [n for n, value in enumerate(curve[name]) if value is not None] == [0, 5, 10, 15, 20, 24], name
        assert curve[name][0] == manifest.metrics[f"{name}_before"], name
        assert curve[name][24] == pytest.approx(manifest.metrics[name], abs=1e-6), name
    assert curve["loss_to_tokens"][24] < curve["loss_to_tokens"][0]


def test_a_sample_of_the_held_out_examples_is_counted(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, held_out_sample=3, **STEPS)
    assert (manifest.counts["held_out_examples_to_tokens"], manifest.counts["held_out_examples_to_text"]) == (3, 3)


def test_rsa_is_that_of_diagnose(make_world: Any) -> None:
    world = make_world()
    rows = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)
    path = world.workspace / "codebooks.safetensors"
    found = describe(rows, comparable_vectors(path, world.tokens), 0)
    expected = rsa_figures(rows, match_codebooks(world.tokens, read_codebooks(path), "here"))
    assert found["rsa_pearson"] == expected["rsa_pearson"] and found["rsa_spearman"] == expected["rsa_spearman"]
    # One more level, of tokens without a codebook, changes nothing; rows that are all equal have no correlation.
    more = NewTokens(
        [*world.tokens.names, "<c_0>"],
        np.append(world.tokens.ids, 999),
        np.append(world.tokens.levels, np.int32(2)),
        np.append(world.tokens.codes, np.int32(0)),
    )
    longer = np.vstack([rows, rows[:1]])
    assert describe(longer, comparable_vectors(path, more), 0)["rsa_pearson"] == found["rsa_pearson"]
    assert describe(np.ones_like(rows), comparable_vectors(path, world.tokens), 0)["rsa_spearman"] is None


def test_plot(make_world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tied=False)
    call = ["ground", "-w", str(world.workspace), "--max-steps", "6", "--batch-size", "8", "--device", "cpu", "--plot"]
    assert gti(call) == 0
    assert "grounded_curves.svg" in capsys.readouterr().out
    paths = [world.workspace / f"grounded_curves.{ending}" for ending in ("png", "svg")]
    first = [path.read_bytes() for path in paths]
    assert min(Image.open(paths[0]).size) > 400 and np.asarray(Image.open(paths[0]).convert("L")).std() > 5
    assert gti(call) == 0  # up to date: drawn again, to the same bytes
    assert [path.read_bytes() for path in paths] == first
    assert gti(["ground", "--from", "grounded", "--name", "more", *call[1:-1]]) == 0  # the checkpoint is as it was
