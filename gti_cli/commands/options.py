"""Show options dataclasses (see `gti_cli.options`) as command-line options.

A command is a function whose parameters are either typer's own (``name: Annotated[str, typer.Option(...)]``), for
what one command alone has, or instances of an options dataclass. `expand_options` turns the second kind into one
command-line option for each field. Nothing heavy is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gti_cli import console, network
from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, RunOptions, option

Field = dataclasses.Field[Any]

WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace", "-w", envvar="GTI_WORKSPACE", help="Folder for the outputs of all stages.", show_default=True
    ),
]
DEFAULT_WORKSPACE = Path("gti-workspace")
TABLE = "TABLE"  # what the help calls the value of an option that takes a table, see `gti_cli.tables.locate`


@dataclass(frozen=True)
class CommonOptions(RunOptions):
    """The options in the help panel "Common".

    Attributes:
        json_output: Print one JSON object on stdout instead of tables.
        quiet: Print no progress and no notes on stderr.
        offline: Open no connection to another machine.
    """

    json_output: bool = option(False, "Print one JSON object on stdout.", flag="--json")
    quiet: bool = option(False, "No progress and notes on stderr.", flag="--quiet,-q")
    offline: bool = option(False, "Use no network: local files and the hub's cache alone.")

    def configure_console(self) -> None:
        """Apply ``--json``, ``--quiet`` and ``--offline``; every command calls this first."""
        console.configure(quiet=self.quiet, json_output=self.json_output)
        network.configure(offline=self.offline)

    def run_keywords(self) -> RunKeywords:
        """Return the options that a stage takes, as its keywords."""
        return {
            "seed": self.seed,
            "device": self.device,
            "dtype": self.dtype,
            "force": self.force,
            "resume": self.resume,
            "columns": self.columns,
        }


@dataclass(frozen=True)
class AdapterOptions:
    """The options in the help panel "Adapters".

    Attributes:
        base: Base model of an adapter.
        merge_into: Write the merged checkpoint into the workspace under this name, and use it.
    """

    base: str | None = option(None, "Base model of an adapter (default: the one that its adapter_config.json names).")
    merge_into: str | None = option(None, "Write the adapter, merged with its base, as this checkpoint, and use it.")

    def merged(
        self, checkpoints: Sequence[str], workspace: Path, common: CommonOptions
    ) -> tuple[list[str], str | None]:
        """Apply ``--merge-into``: write the merged checkpoint, and put its name in the place of the adapter.

        Args:
            checkpoints: Names or paths, as given on the command line.
            workspace: Folder of the workspace.
            common: Options of the command.

        Returns:
            The checkpoints to work on, and the base model for adapters among them.

        Raises:
            InputError: When not exactly one of the checkpoints is an adapter, or it cannot be merged.
        """
        if self.merge_into is None:
            return list(checkpoints), self.base
        from gti_cli.checkpoints.adapters.folder import names_adapter
        from gti_cli.merging.merge import merge
        from gti_cli.workspace import Workspace

        adapters = [given for given in checkpoints if names_adapter(Workspace(workspace), given)]
        if len(adapters) != 1:
            told = ", ".join(adapters or checkpoints) or "no checkpoint"
            raise InputError(
                f"--merge-into is for one adapter, and {told} {'are several' if adapters else 'is none'}",
                remedy="name the folder of one adapter (adapter_config.json)",
            )
        merge(adapters[0], self.merge_into, workspace, base=self.base, force=common.force, resume=common.resume)
        console.note(f"merged {adapters[0]} into {workspace / self.merge_into}")
        return [self.merge_into if given == adapters[0] else given for given in checkpoints], None


def expand_options(
    command: Callable[..., None],
    panels: Mapping[type, str] | None = None,
    *,
    common: Sequence[str] | None = None,
) -> Callable[..., None]:
    """Make the function that typer reads: each field of an options dataclass becomes a parameter of its own.

    Args:
        command: The command. It is called with instances of its options dataclasses.
        panels: The heading in the help for each options dataclass; `CommonOptions` has the heading "Common".
        common: The fields of `CommonOptions` that the command offers, in the order of its help; None means all. The
            other fields keep their defaults.
    """
    headings = {CommonOptions: "Common", **(panels or {})}
    # Where the default is None, Python 3.10's `typing.get_type_hints` hides `Annotated[..., typer.Option(...)]` inside
    # `Optional`, and typer finds neither the option's name nor its help.
    hints = inspect.get_annotations(command, eval_str=True)
    groups: dict[str, list[tuple[Field, Any]]] = {
        name: _offered_fields(kind, common) for name, kind in hints.items() if dataclasses.is_dataclass(kind)
    }
    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(command).parameters.values():
        kind = hints[own.name]
        if own.name in groups:
            parameters += [_parameter(entry, hint, headings.get(kind)) for entry, hint in groups[own.name]]
        else:
            parameters.append(own.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        """Build the options dataclasses from the values of the command line and call the command."""
        for name, group in groups.items():
            values[name] = hints[name](
                **{entry.name: _field_value(entry, hint, values.pop(entry.name)) for entry, hint in group}
            )
        command(**values)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {entry.name: entry.annotation for entry in parameters}
    return wrapper


def _offered_fields(kind: Any, common: Sequence[str] | None) -> list[tuple[Field, Any]]:
    """Return the fields that the command line shows, each with its type (which a module may hold as text)."""
    hints = typing.get_type_hints(kind)
    by_name = {entry.name: entry for entry in dataclasses.fields(kind)}
    names = by_name if common is None or kind is not CommonOptions else common
    return [(by_name[name], hints[name]) for name in names]


def _parameter(entry: Field, kind: Any, panel: str | None) -> inspect.Parameter:
    """Return the parameter for one field: its type, flags and default on the command line."""
    default, meta = entry.default, entry.metadata
    if meta["written"] is not None:
        kind = meta["written"]
    elif _element_type(kind):  # a tuple is written as text with commas
        kind = str if isinstance(default, tuple) else str | None
        default = ",".join(map(str, default)) if isinstance(default, tuple) else default
    elif default is True:  # the flag turns it off
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
    flag = entry.metadata["flag"]
    return flag.split(",") if flag else ["--" + entry.name.rstrip("_").replace("_", "-")]


def _element_type(kind: Any) -> type | None:
    """Return the type of a tuple's elements where ``kind`` is a tuple, or a tuple or None; else None."""
    for part in (kind, *typing.get_args(kind)):
        if typing.get_origin(part) is tuple:
            element: type = typing.get_args(part)[0]
            return element
    return None


def _field_value(entry: Field, kind: Any, value: Any) -> Any:
    """Convert the value that typer has read into the field's value."""
    if entry.default is True:
        return not value
    element = _element_type(kind)
    if element is None or value is None or entry.metadata["written"] is not None:
        return value
    return tuple(parse_numbers(value, _flags(entry)[0]) if element is int else parse_names(value))


def with_revision(name: str, revision: str | None, workspace: Path) -> str:
    """Return ``NAME@REVISION``, the name of a model on the hub at the revision that ``--revision`` gives.

    Args:
        name: The model, as given on the command line.
        revision: The branch, tag or commit. None: the name stays as it is.
        workspace: Folder of the workspace.

    Raises:
        InputError: When the model is on this machine, or its name has a revision already.
    """
    if revision is None:
        return name
    if Path(name).exists() or (workspace / name).exists():
        raise InputError(
            "--revision is for a model on the hub, and this one is here", where=name, remedy="leave --revision out"
        )
    if "@" in name:
        raise InputError(
            f"the name has a revision already, and --revision is {revision}", where=name, remedy="give one"
        )
    return f"{name}@{revision}"


def parse_numbers(text: str, flag: str) -> list[int]:
    """Parse ``"5,10,20"``.

    Args:
        text: Positive whole numbers with commas between them.
        flag: The option that the text was given to, for the error line.

    Raises:
        InputError: When the text is anything else.
    """
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        raise InputError(f"{flag} {text!r} is no list of positive whole numbers", remedy="write for example 5,10,20")
    return values


def parse_names(text: str) -> list[str]:
    """Parse ``"title,brand"``; spaces around a name and empty names are dropped."""
    return [part.strip() for part in text.split(",") if part.strip()]
