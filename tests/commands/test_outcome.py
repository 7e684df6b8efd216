"""The last lines of a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli import console
from gti_cli.commands.outcome import note_short_run, note_small_movement, print_outcome
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


@pytest.mark.parametrize(
    ("moved", "changes", "is_said"),
    [
        (0.019, {}, True),
        (0.021, {}, False),
        (0.019, {"steps_planned": 9}, False),  # it stopped by itself
        (0.019, {"epochs": 0.4}, False),  # `note_short_run` says it
        (0.019, {"pretrained_rows_spread": None}, False),  # a manifest of an earlier version
    ],
)
def test_rows_that_hardly_moved(
    moved: float, changes: dict[str, float | None], is_said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"rows_moved": moved, "epochs": 1.0, "pretrained_rows_spread": 0.1, "steps": 2, **changes}
    counts = {name: values.pop(name) for name in ("steps", "steps_planned") if name in values}
    note_small_movement(make_manifest("g", "ground", counts=counts, metrics=values))
    words = " ".join(capsys.readouterr().err.split())
    assert ("2 steps moved the new rows by 0.019 a coordinate, 19.0% of the distance" in words) == is_said
    assert is_said or not words
