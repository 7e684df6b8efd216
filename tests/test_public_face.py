"""The names that `import gti_cli` offers: what they are, and that importing the package loads nothing heavy."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import gti_cli

STAGES = {
    "import_data": ("gti_cli.importing.import_data", ["sources", "output"]),
    "build_ids": ("gti_cli.semantic_ids.build", ["items", "workspace"]),
    "extend": ("gti_cli.vocabulary.extend", ["model", "workspace"]),
    "ground": ("gti_cli.grounding.ground", ["workspace"]),
    "finetune": ("gti_cli.recommendation.finetune", ["interactions", "workspace"]),
    "blend": ("gti_cli.blending.blend", ["of", "interactions", "workspace"]),
    "evaluate": ("gti_cli.evaluation.evaluate", ["interactions", "workspace"]),
    "diagnose": ("gti_cli.diagnostics.diagnose", ["checkpoints", "workspace"]),
    "recommend": ("gti_cli.recommendation.recommend", ["workspace"]),
    "report": ("gti_cli.pages.report", ["workspace"]),
}
PICTURES = {
    "plot_accuracy": ("gti_cli.evaluation.plot", ["workspace", "name"]),
    "plot_training": ("gti_cli.recommendation.plot", ["workspace", "name"]),
    "plot_curves": ("gti_cli.grounding.plot", ["workspace", "name"]),
    "plot_quality": ("gti_cli.semantic_ids.quality.plot", ["workspace"]),
}
HEAVY = ("torch", "transformers", "numpy", "pyarrow")


def test_the_public_names() -> None:
    classes = {"InputError", "Recommender", "SemanticIdLogitsProcessor", "Workspace"}
    assert set(gti_cli.__all__) == {*STAGES, *PICTURES, *classes, "__version__"}
    assert set(gti_cli.__all__) <= set(dir(gti_cli))


@pytest.mark.parametrize("name", [*STAGES, *PICTURES])
def test_a_function_is_that_of_its_module(name: str) -> None:
    module, positional = (STAGES | PICTURES)[name]
    stage = getattr(gti_cli, name)
    assert inspect.isfunction(stage) and stage.__module__ == module
    kinds = {entry.name: entry.kind for entry in inspect.signature(stage).parameters.values()}
    assert [entry for entry, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD] == positional


def test_the_classes_are_those_of_their_modules() -> None:
    from gti_cli.decoding.constraints.logits_processor import SemanticIdLogitsProcessor
    from gti_cli.errors import InputError
    from gti_cli.recommender.recommender import Recommender
    from gti_cli.workspace import Workspace

    assert gti_cli.InputError is InputError and gti_cli.Workspace is Workspace
    assert gti_cli.Recommender is Recommender
    assert gti_cli.SemanticIdLogitsProcessor is SemanticIdLogitsProcessor


def test_importing_a_room_does_not_hide_a_stage() -> None:
    """No module ``gti_cli.evaluate`` may exist: Python would set it as an attribute in place of the function."""
    for name in (*STAGES, *PICTURES):
        with pytest.raises(ModuleNotFoundError):
            import_module(f"gti_cli.{name}")
    assert inspect.ismodule(gti_cli.evaluation) and inspect.isfunction(gti_cli.evaluate)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'gti_cli' has no attribute 'absent'"):
        gti_cli.absent  # noqa: B018


def test_importing_the_package_loads_nothing_heavy_and_its_names_work_afterwards() -> None:
    code = (
        "import sys, gti_cli\n"
        f"print(sorted(set(sys.modules) & set({HEAVY!r})))\n"
        "from gti_cli import InputError, console\n"
        "print(InputError.__module__, console.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "gti_cli.errors gti_cli.console"]


def test_the_version_is_the_one_that_the_command_line_prints(capsys: pytest.CaptureFixture[str]) -> None:
    from gti_cli.app import run

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"gti {gti_cli.__version__}\n"
