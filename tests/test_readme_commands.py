"""The commands of the top-level README do what it says, on the sample: fast ones are run, long ones are looked up."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import gti_cli
from gti_cli.app import run as gti

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SAMPLE = ROOT / "sample_data"
# What the README calls its files -> what the sample has.
FILES = {"Qwen/Qwen3-0.6B": str(SAMPLE / "lm")}
FAST = ("build-ids", "extend", "status")


def commands() -> list[list[str]]:
    """The `gti` commands of the README's indented code blocks, comments aside."""
    lines = [line.strip() for line in README.splitlines() if line.startswith("    gti ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def python_block() -> str:
    found = re.search(r"```python\n(.*?)```", README, re.S)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample's tables under the README's names, a tenth of the catalogue."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("items", "titles"):
        pq.write_table(pq.read_table(SAMPLE / f"{name}.parquet").slice(0, 300), folder / f"{name}.parquet")
    return folder


def test_the_readme_is_short_and_has_its_commands() -> None:
    assert len(README.splitlines()) <= 200
    names = [command[0] for command in commands()]
    assert names[:5] == ["build-ids", "extend", "ground", "finetune", "evaluate"]
    assert {"diagnose", "recommend", "status"} <= set(names)


def test_fast_commands_run(shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(shop)
    for command in commands():
        if command[0] in FAST:
            assert gti([FILES.get(word, word) for word in command]) == 0, command
    assert (shop / "gti-workspace" / "extended" / "model.safetensors").exists()
    assert "extended" in capsys.readouterr().out


@pytest.mark.parametrize("command", [command for command in commands() if command[0] not in FAST], ids=" ".join)
def test_long_commands_have_the_options_that_the_readme_names(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert gti([command[0], "--help"]) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown))
    assert {word for word in command[1:] if word.startswith("-")} <= options
    assert not {"--no-such-option"} & options


def test_the_python_block_names_what_there_is() -> None:
    tree = ast.parse(python_block())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    stages = [node for node in calls if isinstance(node.func.value, ast.Name) and node.func.value.id == "gti"]
    assert len(stages) >= 5
    for call in stages:
        assert isinstance(call.func, ast.Attribute)
        signature = inspect.signature(getattr(gti_cli, call.func.attr))
        signature.bind(*call.args, **{keyword.arg or "": None for keyword in call.keywords})
