"""The command line itself: help at once, exit codes, one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from gti_cli import app

COMMANDS = ["build-ids", "extend", "ground", "finetune", "evaluate", "diagnose", "recommend", "export", "status"]
HAS_RUN_OPTIONS = COMMANDS[:6]
HEAVY = ("torch", "transformers", "numpy", "pyarrow", "faiss", "sklearn", "datasets", "matplotlib")


def test_help_is_there_and_imports_nothing_heavy() -> None:
    """One process asks for all of them, since its start is what takes time."""
    commands = ["", *sorted(typer.main.get_command(app.app).commands)]  # type: ignore[attr-defined]
    code = (
        "import sys, time; from gti_cli import app\n"
        "for command in sys.argv[1:]:\n"
        "    status = app.run([*command.split(), '--help'])\n"
        f"    print('ANSWERED', repr(command), sorted(set(sys.modules) & set({HEAVY!r})), status)\n"
        "    print('SECONDS', time.process_time())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *commands], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line for line in lines if "ANSWERED" in line] == [f"ANSWERED {name!r} [] 0" for name in commands]
    assert done.stdout.count("Usage") == len(commands)
    # The first answer takes 0.5 s on an idle machine; a loaded one gets more than that before this fails.
    assert float(next(line for line in lines if "SECONDS" in line).split()[1]) < 3


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
        (["extend", "--model", "absent", "--name", "../escaped"], "is no plain folder name"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert message in captured.err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["status", "-w", ""], "-w is empty"),
        (["status", "--workspace="], "--workspace is empty"),
        (["build-ids", ""], "the argument behind 'build-ids' is empty"),
        (["build-ids", "absent.parquet", "--prompt", "", "--text-columns", ""], "--text-columns is empty"),
    ],
)
def test_an_empty_argument_is_not_this_folder(
    arguments: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most come from a shell variable that is not set."""
    monkeypatch.chdir(tmp_path)
    assert app.run(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {what}. Give a value") and not list(tmp_path.iterdir())
    monkeypatch.setattr(app.sys, "argv", ["gti", *arguments])
    assert app.run() == 2 and what in capsys.readouterr().err


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
