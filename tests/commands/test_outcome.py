"""The last lines of a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli import console
from gti_cli.commands.outcome import note_short_run, print_outcome
from tests.support.commands import make_manifest

MANIFEST = make_manifest("grounded", "ground", counts={"steps": 3}, run={"seconds": 1234.56})


def test_where_the_output_lies_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcome(MANIFEST, Path("ws/grounded"))
    assert capsys.readouterr().out == "ws/grounded  (1,234.6 s)\n"


def test_with_json_the_whole_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(json_output=True)
    print_outcome(MANIFEST, Path("ws/grounded"))
    assert json.loads(capsys.readouterr().out) == MANIFEST.to_json()


@pytest.mark.parametrize(
    ("passes", "planned", "is_short"), [(0.075, 30, True), (0.075, None, True), (0.075, 31, False), (0.5, 30, False)]
)
def test_a_short_run_is_called_so(
    passes: float, planned: int | None, is_short: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"steps": 30} if planned is None else {"steps": 30, "steps_planned": planned}
    note_short_run(
        make_manifest("g", "ground", counts=counts, metrics={"epochs": passes}), "pairs", "little is learned"
    )
    words = " ".join(capsys.readouterr().err.split())
    assert ("0.075 passes over the pairs" in words and "little is learned" in words) == is_short
    assert is_short or not words
