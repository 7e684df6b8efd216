"""What `gti ground` prints and how it refuses; the stage itself is tested in tests/grounding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.app import run as gti
from gti_cli.workspace.manifest import digest_path
from tests.support.grounding_world import make_world

SHORT = ["--max-steps", "4", "--batch-size", "8", "--device", "cpu", "-q"]


def test_prints_before_and_after_then_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path / "ws")
    where = ["-w", str(world.workspace)]
    capsys.readouterr()
    assert gti(["ground", *where, *SHORT]) == 0
    said = capsys.readouterr()
    for words in (
        "Grounded 7 new tokens of tiny",
        "loss text -> tokens",
        "effective rank",
        "pairs by both",
        "held-out",
    ):
        assert words in said.out
    assert str(world.workspace / "grounded") in said.out
    assert gti(["ground", *where, *SHORT, "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["command"] == "ground" and manifest["counts"]["steps"] == 4
    assert gti(["ground", *where, *SHORT, "--seed", "1"]) == 2
    assert "was made already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,title\nnobody,A\n", "1 items have no semantic ID: 'nobody'"),
        ("item_id,title\n", "the table has no rows"),
        ("title\nA\n", "no pairs can be made from the columns"),
        ("", "cannot be read as csv"),
    ],
)
def test_bad_pairs_end_with_one_line_and_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    world = make_world(tmp_path / "ws")
    table = tmp_path / "bad.csv"
    table.write_text(text)
    before = digest_path(world.workspace)
    capsys.readouterr()
    assert gti(["ground", "--pairs", str(table), "-w", str(world.workspace), *SHORT]) == 2
    said = capsys.readouterr()
    assert message in said.err and len(said.err.strip().splitlines()) == 1 and not said.out
    assert digest_path(world.workspace) == before


def test_without_extend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gti(["ground", "-w", str(tmp_path / "empty"), "-q"]) == 2
    assert "gti extend" in capsys.readouterr().err and not (tmp_path / "empty").exists()


def test_a_regression_is_printed_beside_the_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path / "ws")
    assert gti(["ground", "-w", str(world.workspace), "--solver", "regression", *SHORT]) == 0
    said = capsys.readouterr().out
    for words in (
        "┃ regression ┃ after steps ┃",
        "Regressions",
        "strength of",
        "its passes of the",
    ):
        assert words in said
    assert "passes over the pairs" in said


def test_a_regression_refuses_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path / "ws")
    before = digest_path(world.workspace)
    capsys.readouterr()
    assert gti(["ground", "-w", str(world.workspace), "--solver", "regression", "--lora", *SHORT]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "against --lora" in line and digest_path(world.workspace) == before
