"""Commands whose options stand in dataclasses (`gti_cli.options`), as typer reads them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.common import names, numbers
from gti_cli.options import RunKeywords, RunOptions, option

Field = dataclasses.Field[Any]


@dataclass(frozen=True)
class Common(RunOptions):
    """What every command takes; `start` it first.

    Attributes:
        json_output: print one JSON object on stdout. quiet: no progress and notes on stderr.
    """

    json_output: bool = option(False, "Print one JSON object on stdout.", flag="--json")
    quiet: bool = option(False, "No progress and notes on stderr.", flag="--quiet,-q")

    def start(self) -> None:
        """Decide what goes where from here on."""
        console.configure(quiet=self.quiet, json_output=self.json_output)

    def run(self) -> RunKeywords:
        """What the stage takes of it."""
        return {
            "seed": self.seed,
            "device": self.device,
            "dtype": self.dtype,
            "force": self.force,
            "resume": self.resume,
        }


def expanded(command: Callable[..., None], panels: Mapping[type, str] | None = None) -> Callable[..., None]:
    """A command for typer in which each parameter that is an options dataclass stands as one option a field.

    Args:
        command: its parameters are typer's own, or annotated with an options dataclass; it gets instances of these.
        panels: under which heading the help shows a dataclass' options (`Common`: ``Common``).
    """
    headings = {Common: "Common", **(panels or {})}
    hints = typing.get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(command).parameters.values():
        kind = hints[own.name]
        if own.name in groups:
            parameters += [_parameter(entry, known, headings.get(kind)) for entry, known in _typed(kind)]
        else:
            parameters.append(own.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        """Put the options of each dataclass together again."""
        for name, kind in groups.items():
            read = {entry.name: _read(entry, known, values.pop(entry.name)) for entry, known in _typed(kind)}
            values[name] = kind(**read)
        command(**values)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {entry.name: entry.annotation for entry in parameters}
    return wrapper


def _typed(kind: Any) -> list[tuple[Field, Any]]:
    """The fields of a dataclass with their types, which it may have written as text."""
    hints = typing.get_type_hints(kind)
    return [(entry, hints[entry.name]) for entry in dataclasses.fields(kind)]


def _parameter(entry: Field, kind: Any, panel: str | None) -> inspect.Parameter:
    """One option: its type, name and default on the command line."""
    default, meta = entry.default, entry.metadata
    if meta["written"] is not None:
        kind = meta["written"]
    elif _listed(kind):
        kind = str if isinstance(default, tuple) else str | None
        default = ",".join(map(str, default)) if isinstance(default, tuple) else default
    elif default is True:
        default = False
    info = typer.Option(
        *_flags(entry),
        help=meta["help"],
        rich_help_panel=panel,
        show_default=meta["shown"] or kind is not bool,
    )
    return inspect.Parameter(
        entry.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


def _flags(entry: Field) -> list[str]:
    given = entry.metadata["flag"]
    return given.split(",") if given else ["--" + entry.name.rstrip("_").replace("_", "-")]


def _listed(kind: Any) -> type | None:
    """``int`` or ``str`` where ``kind`` is a tuple of them (or None), which is written with commas."""
    for part in (kind, *typing.get_args(kind)):
        if typing.get_origin(part) is tuple:
            of: type = typing.get_args(part)[0]
            return of
    return None


def _read(entry: Field, kind: Any, value: Any) -> Any:
    """The field's value from what the command line gave."""
    if entry.default is True:
        return not value
    of = _listed(kind)
    if of is None or value is None or entry.metadata["written"] is not None:
        return value
    return tuple(numbers(value, _flags(entry)[0]) if of is int else names(value))
