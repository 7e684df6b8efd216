"""The last lines of a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli import console
from gti_cli.commands.outcome import print_outcome
from tests.support.commands import make_manifest

MANIFEST = make_manifest("grounded", "ground", counts={"steps": 3}, run={"seconds": 1234.56})


def test_where_the_output_lies_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcome(MANIFEST, Path("ws/grounded"))
    assert capsys.readouterr().out == "ws/grounded  (1,234.6 s)\n"


def test_with_json_the_whole_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(json_output=True)
    print_outcome(MANIFEST, Path("ws/grounded"))
    assert json.loads(capsys.readouterr().out) == MANIFEST.to_json()
