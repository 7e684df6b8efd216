"""`python -m gti_cli` is the command line, as torchrun starts it."""

from __future__ import annotations

import runpy
import sys

import pytest

import gti_cli


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["no-such-command"], 2)])
def test_the_module_runs_the_command_line(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gti_cli", *arguments])
    with pytest.raises(SystemExit) as left:
        runpy.run_module("gti_cli", run_name="__main__")
    assert left.value.code == code
    captured = capsys.readouterr()
    assert captured.out == ("" if code else f"gti {gti_cli.__version__}\n")
    assert ("No such command" in captured.err) == bool(code)


def test_importing_the_module_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("gti_cli.__main__", run_name="imported")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
