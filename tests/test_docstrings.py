"""Docstrings that a documentation build can read: one argument a line, and only arguments that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gti_cli"
MODULES = [path.relative_to(PACKAGE.parent).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example", "Examples", "Note", "Notes")
ENTRY = re.compile(r"(\*{0,2}[A-Za-z_]\w*(?:, *\*{0,2}[A-Za-z_]\w*)*)(?: \([^)]*\))?:(?: |$)")


def entries(docstring: str, section: str) -> list[str]:
    """The entries of a section, each with its continuation lines in one line."""
    found: list[str] = []
    inside = False
    for line in docstring.splitlines():
        if line.strip().rstrip(":") in SECTIONS and line.strip().endswith(":") and not line.startswith(" "):
            inside = line.strip() == f"{section}:"
        elif inside and line.strip():
            if not line.startswith(" "):
                inside = False  # a paragraph after the section
            elif re.match(r" {4}\S", line) or not found:
                found.append(line.strip())
            else:
                found[-1] += " " + line.strip()
    return found


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names of a function's parameters, without stars."""
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {entry.arg for entry in every if entry is not None} - {"self", "cls"}


def attributes(node: ast.ClassDef) -> set[str]:
    """The fields, properties and instance attributes that a class defines."""
    names: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self":
            names.add(part.attr)
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            names.add(part.target.id)
        elif isinstance(part, ast.Assign):
            names.update(target.id for target in part.targets if isinstance(target, ast.Name))
        elif isinstance(part, ast.FunctionDef):
            names.add(part.name)
    return names


def fields(node: ast.ClassDef) -> set[str]:
    """What a class takes when it is called: the parameters of ``__init__``, or the annotated fields of a dataclass."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return parameters(part)
    return {p.target.id for p in node.body if isinstance(p, ast.AnnAssign) and isinstance(p.target, ast.Name)}


def documented(tree: ast.Module) -> Iterator[tuple[str, str, str, set[str], bool]]:
    """Each section of arguments or attributes of a module.

    Yields:
        The place, the section's title, the docstring, the names that may stand in the section, and whether these are
        all: a class may inherit more from a base that another file defines.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names, complete = {"Args": parameters(node)}, True
        elif isinstance(node, ast.ClassDef):
            names = {"Args": fields(node), "Attributes": attributes(node)}
            complete = all(isinstance(base, ast.Name) and base.id in ("Protocol", "Exception") for base in node.bases)
        else:
            continue
        for section in names:
            yield f"{node.name} (line {node.lineno})", section, ast.get_docstring(node) or "", names[section], complete


def faults(tree: ast.Module) -> list[str]:
    """What is wrong with the sections of a module's docstrings, in words."""
    found = []
    for place, section, text, existing, complete in documented(tree):
        lines = entries(text, section)
        heads = [ENTRY.match(line) for line in lines]
        listed = {name.strip(" *") for head in heads if head for name in head[1].split(",")} | existing
        for line, head in zip(lines, heads, strict=True):
            if head is None:
                found.append(f"{place}, {section}: no 'name: text' in {line!r}")
                continue
            names = [name.strip(" *") for name in head[1].split(",")]
            if len(names) > 1:
                found.append(f"{place}, {section}: {head[1]} in one entry")
            if complete and not set(names) <= existing:
                found.append(f"{place}, {section}: there is no {', '.join(sorted(set(names) - existing))}")
            later = re.findall(r"[.;)`] +\*{0,2}([a-z_]\w*(?:, [a-z_]\w*)*):(?= )", line[head.end() :])
            second = [name for part in later for name in part.split(", ") if name in listed]
            if second:
                found.append(f"{place}, {section}: {second[0]} stands in the line of {names[0]}")
    return found


def test_sections_have_one_argument_a_line_and_name_what_exists() -> None:
    by_module = {module: faults(ast.parse((PACKAGE.parent / module).read_text("utf-8"))) for module in MODULES}
    assert {module: found for module, found in by_module.items() if found} == {}


GOOD = '''
def area(width: float, *sides: float, **options: int) -> float:
    """Compute an area.

    Args:
        width: In metres. Note: the ratio is 2:1, e.g. (a) wide: 2.
            depth: is what a continuation line may begin with if there is no such argument.
        *sides: Further sides.
        **options: Passed on.

    Returns:
        width: this is no section of arguments.
    """

class Box:
    """A box.

    Args:
        width: In metres.

    Attributes:
        area: In square metres.
    """

    def __init__(self, width: float) -> None:
        self.area = width**2
'''


def test_a_good_module_has_no_faults() -> None:
    assert faults(ast.parse(GOOD)) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("width: In metres. Note", "width: In metres. sides: further ones. Note", "sides stands in the line of width"),
        ("width: In metres. Note", "width, sides: In metres. Note", "width, sides in one entry"),
        ("*sides: Further", "*edges: Further", "there is no edges"),
        ("*sides: Further sides.", "further sides", "no 'name: text'"),
        ("        area: In", "        volume: In", "there is no volume"),
        ("width: In metres.\n\n    Attributes", "height: In metres.\n\n    Attributes", "there is no height"),
    ],
)
def test_the_check_can_fail(old: str, new: str, fault: str) -> None:
    assert old in GOOD
    (found,) = faults(ast.parse(GOOD.replace(old, new, 1)))
    assert fault in found
