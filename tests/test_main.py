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


def test_ctrl_c_while_the_command_line_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "gti_cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "gti_cli.app", raising=False)
    monkeypatch.delattr(gti_cli, "app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        runpy.run_module("gti_cli", run_name="__main__")
    assert left.value.code == 130
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "error: interrupted; run the same command again to continue\n"
