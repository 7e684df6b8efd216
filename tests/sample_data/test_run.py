"""The demo's script: its commands exist, every artifact is made before it is read, and no failure is lost."""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from typer.main import get_command

from gti_cli.app import app

SCRIPT = Path(__file__).parents[2] / "sample_data" / "run.sh"
# Two finetunings at a time: what each of the demo's checkpoints is made from.
MADE_FROM = {"text": "extended", "prior": "extended", "mean": "mean-start", "gti": "grounded"}


def run_script(tmp_path: Path, body: str = "exit 0") -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run the script with stand-ins that write down their beginning, do ``body``, and write down their end."""
    log = tmp_path / "log"
    for name in ("gti", "python"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        log_line = f'printf "%s\\t" {name} "$@" >> {log}.$$; echo >> {log}.$$; cat {log}.$$ >> {log}; rm {log}.$$'
        program.write_text(f"#!/usr/bin/env bash\n{log_line}\n{body}\n")
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", str(SCRIPT), str(tmp_path / "out")], env=environment, timeout=60, capture_output=True, text=True
    )
    calls = [line.rstrip("\t").split("\t") for line in log.read_text("utf-8").splitlines()]
    return done, [call[1:] for call in calls if call[0] == "gti"]


def test_its_commands_exist_and_artifacts_are_made_before_they_are_read(tmp_path: Path) -> None:
    done, calls = run_script(tmp_path)
    assert done.returncode == 0, done.stderr
    names = [call[0] for call in calls]
    assert [names.count(name) for name in ("build-ids", "extend", "ground", "finetune", "evaluate")] == [1, 2, 1, 4, 4]
    assert names[0] == "build-ids" and names[-2:] == ["diagnose", "report"]
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, *arguments in calls:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= known
    made: list[str] = []
    for name, *arguments in calls:
        after = dict(pairwise(arguments))
        if name == "extend":
            made.append(after.get("--name", "extended"))
        elif name == "ground":
            assert "extended" in made
            made.append("grounded")
        elif name == "finetune":
            assert after["--from"] == MADE_FROM[after["--name"]] and after["--from"] in made
            made.append(after["--name"])
        elif name == "evaluate":
            assert arguments[0] in made
        elif name == "diagnose":
            assert {argument for argument in arguments if argument in made} == set(made)


@pytest.mark.parametrize(
    "failing",
    [
        'if [[ "$*" == *mean-start* && $1 == extend ]]; then echo broken; exit 2; fi',  # the second of two
        # The first of two; the second would take long, and is ended.
        'if [[ "$*" == *mean-start* && $1 == extend ]]; then sleep 40; elif [ "$1" = extend ]; then exit 2; fi',
    ],
)
def test_a_failure_of_either_of_two_ends_the_demo(tmp_path: Path, failing: str) -> None:
    done, calls = run_script(tmp_path, failing)
    assert done.returncode == 2
    assert {call[0] for call in calls} == {"build-ids", "extend"}
    assert ("broken" in done.stdout) == ("broken" in failing)
