from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from gti_cli.commands.options import CommonOptions, expand_options
from gti_cli.errors import InputError
from gti_cli.options import option


@dataclass(frozen=True)
class Paint:
    colour: str | None = option(None, "What it looks like.", shown="as it comes")
    coats: int = option(2, "How many.")
    layers: tuple[int, ...] = option((8, 4), "Thickness of each.")
    names: tuple[str, ...] | None = option(None, "What to call them.")
    tin: Path | str | None = option(None, "Where it is.", written=Path | None)
    glossy: bool = option(False, "Shine.")
    dry: bool = option(True, "Leave it wet.", flag="--no-dry")
    from_: str = option("here", "Where to start.")


def paint(arguments: list[str]) -> tuple[Any, ...]:
    """What a command gets that takes a word, a `Paint` and the common options."""
    got: list[Any] = []

    def command(what: Annotated[str, typer.Argument()], paint: Paint, base: CommonOptions, plot: bool = False) -> None:
        """Paint it."""
        got.append((what, paint, base, plot))

    app = typer.Typer()
    app.command()(expand_options(command, {Paint: "Of the paint"}))
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return tuple(got[0])


def test_defaults_are_those_of_the_dataclass() -> None:
    assert paint(["door"]) == ("door", Paint(), CommonOptions(), False)


def test_every_option_reaches_its_field() -> None:
    flags = "--colour blue --coats 3 --layers 5,6 --names a,b --tin x/y --glossy --no-dry --from there"
    _, got, base, plot = paint(["door", *flags.split(), "--seed", "7", "-q", "--json", "--no-resume", "--plot"])
    assert got == Paint("blue", 3, (5, 6), ("a", "b"), Path("x/y"), True, False, "there")
    assert base == CommonOptions(seed=7, resume=False, json_output=True, quiet=True)
    assert base.run_keywords() == {"seed": 7, "device": "auto", "dtype": "auto", "force": False, "resume": False}
    assert plot


def test_a_list_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="--layers '5,x' is no list"):
        paint(["door", "--layers", "5,x"])


def test_help_shows_the_line_and_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    def command(paint: Paint) -> None:
        """Paint it."""

    app.command()(expand_options(command, {Paint: "Of the paint"}))
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    assert "Of the paint" in shown and "How many." in shown and "8,4" in shown and "as it comes" in shown
    assert "--no-dry" in shown and "--dry " not in shown
