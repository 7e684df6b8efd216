"""The command line itself: help at once, exit codes, one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gti_cli import app

COMMANDS = ["build-ids", "extend", "ground", "finetune", "evaluate", "diagnose", "recommend", "export", "status"]
HAS_RUN_OPTIONS = COMMANDS[:6]
HEAVY = ("torch", "transformers", "numpy", "pyarrow", "faiss", "sklearn", "datasets", "matplotlib")


@pytest.mark.parametrize("arguments", [[], *[[command] for command in COMMANDS]])
def test_help_is_there_and_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from gti_cli import app; "
        f"status = app.run({[*arguments, '--help']!r}); "
        f"print(sorted(set(sys.modules) & set({HEAVY!r})), status)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The bounds are 0.5 and 0.8 s on an idle machine; a loaded one gets ten times that before this fails.
    assert time.monotonic() - started < 8
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert "Usage" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_common_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([command, "--help"]) == 0
    text = capsys.readouterr().out
    common = ["--workspace", "--json", "--quiet"]
    if command in HAS_RUN_OPTIONS:
        common += ["--seed", "--device", "--dtype", "--force", "--no-resume"]
    for option in common:
        assert option in text, option


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([]) == 2
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("Usage:") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-command"], "No such command"),
        (["status", "--no-such-option"], "No such option"),
        (["status", "-w", "absent-folder"], "no such workspace"),
        (["build-ids"], "Missing argument"),
        (["extend", "--model", "absent", "--name", "../escaped"], "cannot be used"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert message in captured.err


def test_interrupt_and_bug_have_their_own_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gti_cli.workspace import lineage

    for error, code in ((KeyboardInterrupt(), 130), (RuntimeError("boom"), 1)):

        def fail(_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(lineage, "inspect", fail)
        assert app.run(["status", "-w", str(tmp_path)]) == code
        said = "this is a bug in gti" if code == 1 else "interrupted; run the same command again"
        assert said in capsys.readouterr().err


def test_output_that_is_not_utf8_loses_letters_only(tmp_path: Path) -> None:
    code = "from gti_cli import app\n"
    code += f"status = app.run(['status', '-w', {str(tmp_path)!r}]); print('Größe –', status)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert done.stdout.splitlines()[-1] == "Gr??e ? 0", done.stderr
