"""The README files: their links resolve, and the commands and options that they name exist."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from gti_cli.app import app

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "gti_cli" / "commands" / "README.md"
HELP = {"--help", "-h"}


def markdown_files() -> list[Path]:
    """All tracked Markdown files, and those that are about to be added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file())


FILES = markdown_files()


def command_options() -> dict[str, set[str]]:
    """Command -> its options, as the typer app declares them; nothing is run."""
    group: Any = typer.main.get_command(app)
    options = {"": {name for parameter in group.params for name in parameter.opts}}
    for name, command in group.commands.items():
        options[name] = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts) if opt.startswith("-")}
    return options


OPTIONS = command_options()


def code_lines(text: str) -> Iterator[str]:
    """Lines of fenced and indented code blocks; a line that ends with a backslash is joined to the next one."""
    fenced, joined = False, ""
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        if not (fenced or line.startswith("    ")):
            continue
        joined += line.strip()
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        yield joined
        joined = ""


def without_code_blocks(text: str) -> str:
    """The prose and the tables of a Markdown text."""
    kept, fenced = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not (fenced or line.startswith("    ")):
            kept.append(line)
    return "\n".join(kept)


def arguments_of(line: str) -> list[str] | None:
    """What a shell line passes to gti; None for a line that does not call it, such as the output of a command."""
    line = re.sub(r"^\$ ", "", line)
    line = re.sub(r"^(\w+=(\"[^\"]*\"|'[^']*'|\S*) +)+", "", line)  # settings before the command
    if re.match(r"(torchrun|accelerate launch|python3?) ", line) and " -m gti_cli " in line:
        line = "gti " + line.split(" -m gti_cli ", 1)[1]
    if not re.match(r"gti(\s|$)", line):
        return None
    words = shlex.split(line, comments=True)[1:]
    ends = [place for place, word in enumerate(words) if word in ("|", ">", ">>", "&&", ";")]
    return words[: ends[0]] if ends else words


def faults_of(arguments: list[str]) -> list[str]:
    """What is wrong with arguments of gti: an unknown command, or options that the command does not have."""
    command = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    if command not in OPTIONS:
        # COMMAND, WHAT, … stand for any command.
        return [] if re.fullmatch(r"[A-Z]+|…", command) else [f"gti {command}: no such command"]
    given = [word.partition("=")[0] for word in arguments if re.match(r"--?[A-Za-z]", word)]
    return [f"gti {command} {option}: no such option" for option in given if option not in OPTIONS[command] | HELP]


def command_faults(text: str) -> list[str]:
    """Faults of the gti commands in code blocks and in inline code."""
    faults = []
    for line in code_lines(text):
        arguments = arguments_of(line)
        if arguments is not None:
            faults += faults_of(arguments)
    for span in re.findall(r"`(gti [^`]+)`", without_code_blocks(text)):
        faults += faults_of(span.replace("\\|", "|").split()[1:])
    return faults


def slugs(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a Markdown text."""
    headings = re.findall(r"^#+ +(.+?) *$", without_code_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def link_faults(text: str, folder: Path) -> list[str]:
    """Relative links and images whose file, or whose heading in a Markdown file, does not exist."""
    prose = re.sub(r"`[^`\n]*`", "``", without_code_blocks(text))
    faults = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):  # https:, mailto:
            continue
        name, _, anchor = target.partition("#")
        path = folder / name
        if name and not path.exists():
            faults.append(f"{target}: no such file")
        elif anchor:
            read = path.read_text("utf-8") if name else text
            if anchor not in slugs(read):
                faults.append(f"{target}: no such heading")
    return faults


def python_faults(text: str) -> list[str]:
    """Names that Python blocks import from modules of the package, and that are not defined there."""
    faults = []
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if not (isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gti_cli.")):
                continue
            path = ROOT / (node.module.replace(".", "/") + ".py")
            path = path if path.is_file() else path.with_suffix("") / "__init__.py"
            source = path.read_text("utf-8") if path.is_file() else ""
            defined = set(re.findall(r"^(?:def|class) (\w+)|^(\w+)\b.* = ", source, re.MULTILINE))
            names = {name for pair in defined for name in pair}
            faults += [f"{node.module}.{name.name}: not defined" for name in node.names if name.name not in names]
    return faults


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    assert link_faults(path.read_text("utf-8"), path.parent) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_imports_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    assert command_faults(text) == []
    assert python_faults(text) == []


@pytest.mark.parametrize("command", sorted(set(OPTIONS) - {""}))
def test_the_reference_has_every_option_and_no_other(command: str) -> None:
    text = REFERENCE.read_text("utf-8")
    section = re.search(rf"^## gti {command}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    common = re.search(r"^## Common options\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert section and common
    pattern = re.compile(r"(?<![\w<-])--[a-z][a-z-]*")
    long = {option for option in OPTIONS[command] if option.startswith("--")}
    others = re.findall(r"`gti [^`]+`", section[1]) + re.findall(r"torchrun .* -m gti_cli", section[1])
    foreign = {option for args in others for option in pattern.findall(args)}
    assert set(pattern.findall(section[1])) - foreign <= long
    assert long <= set(pattern.findall(section[1])) | set(pattern.findall(common[1]))


def test_the_checks_find_wrong_commands() -> None:
    text = """Some prose with `gti ground --no-such-thing`, and `gti COMMAND --help`.

    $ gti sing items.parquet
    gti extend --model M \\
      --iint mean   # a comment
    torchrun --nproc-per-node 2 -m gti_cli evaluate --interactons FILE
    STEPS=3 GROUNDING="--a b" gti status -x
    gti status --json | jq -r --raw .x
    Grounded 192 new tokens of lm
    gtix --not-ours

```bash
gti --versoin
gti recommend -k 10 --history=A,B
```
"""
    assert command_faults(text) == [
        "gti sing: no such command",
        "gti extend --iint: no such option",
        "gti evaluate --interactons: no such option",
        "gti status -x: no such option",
        "gti  --versoin: no such option",
        "gti ground --no-such-thing: no such option",
    ]


def test_the_checks_find_wrong_links(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading: with `code`\n\n    # not a heading\n", "utf-8")
    text = """# Here

[a](there.md), [b](there.md#a-heading-with-code), [c](#here), [d](https://example.org/x), `[code](not-a-link)`
[e](gone.md), ![f](gone.png), [g](there.md#not-a-heading), [h](#there)

    [block](not-a-link)
"""
    assert link_faults(text, tmp_path) == [
        "gone.md: no such file",
        "gone.png: no such file",
        "there.md#not-a-heading: no such heading",
        "#there: no such heading",
    ]


def test_the_checks_find_wrong_imports() -> None:
    block = "```python\nfrom gti_cli.errors import InputError, Nothing\nfrom gti_cli.nowhere import x\n```\n"
    assert python_faults(block) == ["gti_cli.errors.Nothing: not defined", "gti_cli.nowhere.x: not defined"]


def file_names(text: str) -> set[str]:
    """Names of Python files in back quotes, placeholders (``NAME.py``, ``a/b.py``) aside."""
    names = set(re.findall(r"`([\w/]+\.py)`", text))
    return {name for name in names if "NAME" not in name and not re.search(r"(^|/)(test_)?[a-z]\.py$", name)}


@pytest.mark.parametrize(
    "path", [p for p in FILES if "benchmarks" not in p.parts], ids=lambda p: str(p.relative_to(ROOT))
)
def test_python_files_that_are_named_exist(path: Path) -> None:
    present = [str(file) for file in ROOT.rglob("*.py") if ".venv" not in file.parts]
    names = file_names(path.read_text("utf-8"))
    assert {name for name in names if not any(file.endswith(f"/{name}") for file in present)} == set()


def test_file_names_are_found() -> None:
    assert file_names("`a/gone.py` and `tests/a/test_b.py` and `quantizers/NAME.py`") == {"a/gone.py"}
