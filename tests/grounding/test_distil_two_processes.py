"""Two processes (gloo, CPU) distil as one does, also where one of them has no share of a batch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gti_cli.grounding.ground import ground
from tests.support.launch import launch


@pytest.mark.parametrize("size", [1, 5])
def test_two_processes_come_to_what_one_comes_to(make_words: Any, size: int) -> None:
    options = {"objective": "distil", "max_steps": 6, "learning_rate": 0.02, "held_out": 0.2, "device": "cpu"}
    one, two = make_words("phi", tied=False, name="one"), make_words("phi", tied=False, name="two")
    options |= {"pairs": str(one.pairs), "batch_size": size, "distil_snippets": 1}
    expected = ground(one.workspace, **options)
    assert launch(two.workspace, options) == [6, 6]
    found = json.loads((two.workspace / "grounded" / "gti.json").read_text())
    assert found["counts"] == expected.counts and found["metrics"].keys() == expected.metrics.keys()
    for name, value in expected.metrics.items():
        assert found["metrics"][name] == pytest.approx(value, abs=1e-4), name
