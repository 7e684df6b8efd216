from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gti_cli.app import run as gti
from tests.support.commands import RecordingStage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> RecordingStage:
    recorded = RecordingStage(None)
    monkeypatch.setattr("gti_cli.serving.serve.serve", recorded)
    return recorded


def test_options_reach_the_server(stage: RecordingStage, tmp_path: Path) -> None:
    words = f"serve tuned -w {tmp_path} --port 0 --max-batch 8 --max-wait-ms 1.5 --seed 7 --base b"
    assert gti([*words.split(), "--api-key-file", "keys"]) == 0
    (arguments, keywords) = stage.calls[0]
    expected: dict[str, Any] = {"checkpoint": "tuned", "base": "b", "port": 0, "max_batch": 8, "seed": 7}
    assert arguments == (tmp_path,)
    assert keywords.items() >= {**expected, "max_wait_ms": 1.5, "api_key_file": Path("keys")}.items()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--host 0.0.0.0", "--host 0.0.0.0 lets other machines ask, and no key is set"),
        ("--max-queue 0", "--max-queue must be positive"),
        ("-w /no/such/workspace", "gti build-ids"),
    ],
)
def test_wrong_options_are_one_line(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gti(["serve", "--port", "0", *words.split()]) == 2
    assert line in " ".join(capsys.readouterr().err.split())
