"""Options of extending: what is refused, and that reading them is fast."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.vocabulary import options
from gti_cli.vocabulary.options import ExtendKeywords, StartOptions


@pytest.mark.parametrize("distance", [0.0, -1.0, float("nan"), float("inf")])
def test_a_distance_that_is_not_positive_is_refused(distance: float) -> None:
    with pytest.raises(InputError, match=r"--distance \S+ is not a positive number. Leave it out \(0\.7\)"):
        StartOptions(distance=distance).check()


@pytest.mark.parametrize("distance", [1e-3, 0.7, 1.0, 40.0])
def test_positive_distances_pass(distance: float) -> None:
    StartOptions(distance=distance).check()


def test_every_option_is_a_keyword_of_the_stage() -> None:
    assert set(StartOptions.__dataclass_fields__) <= set(ExtendKeywords.__annotations__)


def test_options_import_nothing_heavy() -> None:
    """``gti extend --help`` imports this module: it must not bring torch along."""
    tree = ast.parse(Path(str(options.__file__)).read_text("utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules == {"__future__", "dataclasses", "gti_cli.errors", "gti_cli.options"}
