"""The script for MovieLens: it is short, and every option that it gives exists. Running it takes half an hour."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from typer.main import get_command

from gti_cli.app import app

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "sample_data" / "movielens.sh"


def test_its_commands_exist_and_come_in_order(tmp_path: Path) -> None:
    assert len(SCRIPT.read_text("utf-8").splitlines()) <= 30
    log = tmp_path / "log"
    for name in ("gti", "python"):  # stand-ins that write down what they are called with
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/usr/bin/env bash\nprintf "%s\\t" {name} "$@" >> {log}\necho >> {log}\n')
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(["bash", str(SCRIPT), str(tmp_path / "out")], env=environment, check=True, timeout=60)
    calls = [line.rstrip("\t").split("\t") for line in log.read_text("utf-8").splitlines()]
    ours = [call[1:] for call in calls if call[0] == "gti"]
    models = ["extend", "extend", "finetune", "finetune", "evaluate", "evaluate"]
    assert [call[0] for call in ours] == ["import", "build-ids", *models, "recommend"]
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, *arguments in ours:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= known
