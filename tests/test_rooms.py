"""The rooms of the package: imports run downwards, never in a circle, and no stage imports another stage."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "gti_cli"
# From the ground up. A room imports from rooms of lower floors only; rooms that share a floor do not know one another.
FLOORS = [
    ["errors"],
    ["options", "geometry", "console", "plot_style", "html", "system_errors", "quick_start"],
    ["workspace", "network"],
    ["tensors", "tables", "endings"],
    ["checkpoints", "metrics"],
    ["prompts", "baselines"],
    ["decoding", "cards"],
    ["training", "priors"],
    ["blends"],
    ["recommender"],
    [
        *("importing", "semantic_ids", "vocabulary", "grounding", "recommendation", "blending", "evaluation"),
        *("diagnostics", "merging", "exporting"),
    ],
    ["pages", "serving"],
    ["commands"],
    ["app"],
    ["__main__"],
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MOST_FILES = 16
MOST_LINES = 300


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_modules(tree: ast.AST, modules: set[str]) -> set[str]:
    """Modules of the package that a module imports anywhere in its code, also for type checking alone."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for name in node.names:
                submodule = f"{node.module}.{name.name}"
                found.add(submodule if submodule in modules else node.module)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        assert not (isinstance(node, ast.ImportFrom) and node.level), "imports name their module in full"
    return found & modules


IMPORTS = {
    name: imported_modules(ast.parse(path.read_text("utf-8")), set(MODULES)) - {name} for name, path in MODULES.items()
}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def upward(imports: dict[str, set[str]]) -> list[str]:
    """Imports from a room of the same or of a higher floor."""
    return [
        f"{module} -> {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if room_of(module) and room_of(other) and room_of(module) != room_of(other)
        if FLOOR_OF[room_of(other)] >= FLOOR_OF[room_of(module)]
    ]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules of a circle of imports; [] where there is none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for other in sorted(imports.get(module, ())):
            if found := visit(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(imports) if (found := visit(module, []))), [])


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module) for module in MODULES} - {""}
    assert rooms == set(FLOOR_OF)


def test_imports_run_downwards_and_stages_do_not_know_one_another() -> None:
    assert upward(IMPORTS) == []


def test_no_circle_of_imports() -> None:
    assert circle(IMPORTS) == []


def test_the_face_of_the_package_is_imported_by_nobody_below() -> None:
    """`gti_cli/__init__.py` offers names of higher floors, so below only `gti_cli.app` imports it, for the version."""
    users = {module for module, others in IMPORTS.items() if "gti_cli" in others}
    assert users <= {"gti_cli.app"}


def test_folders_are_not_crowded() -> None:
    folders = [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]
    assert [str(folder) for folder in folders if len(list(folder.glob("*.py"))) > MOST_FILES] == []


def test_files_are_short() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def private_files() -> Iterator[str]:
    """Modules inside a room's inner folder, such as ``gti_cli.baselines.item_knn``."""
    return (module for module in MODULES if len(module.split(".")) > 3)


def test_inner_folders_belong_to_their_room() -> None:
    """Only shared rooms open their inner folders (``training.batches``) to others; a stage's are behind its door.

    The commands, the pages and the public face (``gti_cli`` itself) show what lies behind it.
    """
    stages = set(FLOORS[FLOOR_OF["semantic_ids"]])
    private = {module for module in private_files() if room_of(module) in stages}
    strangers = [
        f"{module} -> {other}"
        for module, others in IMPORTS.items()
        for other in others & private
        if room_of(module) not in (room_of(other), "commands", "pages", "")
    ]
    assert strangers == []


def mirror(module: str) -> Path:
    """The test file of a module: ``gti_cli.a.b`` is tested in ``tests/a/test_b.py``."""
    *rooms, name = module.split(".")[1:]
    return Path(__file__).parent.joinpath(*rooms, f"test_{name.strip('_')}.py")


def test_every_module_has_its_test_file() -> None:
    mirrors = [mirror(name) for name, path in MODULES.items() if path.name != "__init__.py"]
    assert [str(path) for path in mirrors if not path.is_file()] == []
    assert [str(path) for path in mirrors if "def test_" not in path.read_text("utf-8")] == []


def test_the_checks_can_fail() -> None:
    assert [mirror(f"gti_cli.{name}").relative_to(PACKAGE.parent).as_posix() for name in ("__main__", "a.b.c")] == [
        "tests/test_main.py",
        "tests/a/b/test_c.py",
    ]
    assert upward({"gti_cli.grounding.a": {"gti_cli.evaluation.b"}, "gti_cli.tables.c": {"gti_cli.errors"}}) == [
        "gti_cli.grounding.a -> gti_cli.evaluation.b"
    ]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def imports_of_tests(source: str) -> set[str]:
    """Modules below ``tests`` that a test file imports, and ``conftest``."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.module]
    named = {
        f"tests.{name.name}" if node.module == "tests" else str(node.module) for node in nodes for name in node.names
    }
    return {name for name in named if name.split(".")[0] in ("tests", "conftest")}


def test_tests_import_from_support_alone() -> None:
    files = Path(__file__).parent.rglob("*.py")
    strangers = {
        str(path): wrong
        for path in files
        if (wrong := {m for m in imports_of_tests(path.read_text("utf-8")) if not m.startswith("tests.support")})
    }
    assert {path: wrong for path, wrong in strangers.items() if "benchmarks" not in path} == {}
    assert imports_of_tests("from tests.a.test_b import c\nfrom conftest import d") == {"tests.a.test_b", "conftest"}
