"""Losses, accuracies and retrieval of held-out pairs, against plain computations."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.grounding.ground import ground
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


def test_a_sample_of_the_held_out_examples_is_counted(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, held_out_sample=3, **STEPS)
    assert (manifest.counts["held_out_examples_to_tokens"], manifest.counts["held_out_examples_to_text"]) == (3, 3)
