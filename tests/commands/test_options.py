from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gti_cli import console
from gti_cli.commands.options import AdapterOptions, CommonOptions, expand_options, parse_names, parse_numbers
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
    renamed = ["--columns", "item_id=sku,title=name"]
    _, got, base, plot = paint(
        ["door", *flags.split(), "--seed", "7", "-q", "--json", "--no-resume", "--plot", *renamed]
    )
    assert got == Paint("blue", 3, (5, 6), ("a", "b"), Path("x/y"), True, False, "there")
    names = "item_id=sku,title=name"
    assert base == CommonOptions(seed=7, resume=False, json_output=True, quiet=True, columns=names)
    assert base.run_keywords() == {
        **{"seed": 7, "device": "auto", "dtype": "auto", "force": False, "resume": False},
        "columns": names,
    }
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


def test_a_command_may_offer_some_of_the_common_options_in_its_own_order(capsys: pytest.CaptureFixture[str]) -> None:
    got: list[CommonOptions] = []

    def command(common: CommonOptions) -> None:
        """Paint it."""
        got.append(common)

    app = typer.Typer()
    app.command()(expand_options(command, common=("quiet", "force", "seed")))
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    places = [shown.index(flag) for flag in ("--quiet", "--force", "--seed")]
    assert places == sorted(places) and "--json" not in shown and "--device" not in shown
    assert CliRunner().invoke(app, ["--seed", "3", "-q"]).exit_code == 0
    assert got == [CommonOptions(seed=3, quiet=True)]
    assert CliRunner().invoke(app, ["--json"]).exit_code == 2


def test_json_and_quiet_configure_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    CommonOptions(json_output=True, quiet=True).configure_console()
    console.say("line")
    console.note("remark")
    console.result({"a": 1})
    CommonOptions().configure_console()
    console.say("line")
    captured = capsys.readouterr()
    assert captured.out == '{"a": 1}\nline\n' and captured.err == ""


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=5))
def test_numbers_come_back(numbers: list[int]) -> None:
    assert parse_numbers(", ".join(map(str, numbers)), "--k") == numbers


@pytest.mark.parametrize("text", ["", "5,", "0", "-1,2", "1.5", "a"])
def test_other_texts_are_no_numbers(text: str) -> None:
    with pytest.raises(InputError, match=r"--k .* is no list of positive whole numbers"):
        parse_numbers(text, "--k")


def test_names_lose_their_spaces_and_empty_ones_are_dropped() -> None:
    assert parse_names(" title, brand,,") == ["title", "brand"] and parse_names(" , ") == []


def test_merge_into_takes_one_adapter_and_puts_its_name_in_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}", "utf-8")
    calls = []
    monkeypatch.setattr("gti_cli.merging.merge.merge", lambda *given, **options: calls.append((given, options)))
    given, adapter = ["grounded", str(tmp_path / "adapter")], AdapterOptions(base="b", merge_into="m")
    assert adapter.merged(given, tmp_path / "w", CommonOptions(force=True)) == (["grounded", "m"], None)
    assert calls == [((given[1], "m", tmp_path / "w"), {"base": "b", "force": True, "resume": True})]
    assert AdapterOptions(base="b").merged(given, tmp_path / "w", CommonOptions()) == (given, "b")
    for wrong, told in (
        ([], "no checkpoint is none"),
        (["grounded"], "grounded is none"),
        ([given[1]] * 2, "are several"),
    ):
        with pytest.raises(InputError, match=f"--merge-into is for one adapter, and .*{told}"):
            adapter.merged(wrong, tmp_path / "w", CommonOptions())
    assert len(calls) == 1
