"""The command line: one thin module of `gti_cli.commands` for each subcommand; stages are imported when they run."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from gti_cli import __version__, console
from gti_cli.commands import (
    build_ids,
    diagnose,
    evaluate,
    export,
    extend,
    finetune,
    ground,
    import_data,
    recommend,
    status,
)
from gti_cli.errors import InputError
from gti_cli.workspace import processes

app = typer.Typer(
    name="gti",
    help="Give a language model new words that mean something from the first step (Grounded Token Initialization).",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gti {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("import")(import_data.import_data)
app.command("build-ids")(build_ids.build_ids)
app.command("extend")(extend.extend)
app.command("ground")(ground.ground)
app.command("finetune")(finetune.finetune)
app.command("evaluate")(evaluate.evaluate)
app.command("diagnose")(diagnose.diagnose)
app.command("recommend")(recommend.recommend)
app.command("export")(export.export)
app.command("status")(status.status)


# What the machine refuses is no bug of ours: the person can mend it.
_REFUSED = {
    errno.EACCES: ("no permission", "change the permissions, or read from and write to another place"),
    errno.EPERM: ("no permission", "change the permissions, or read from and write to another place"),
    errno.EROFS: ("the file system is read-only", "write to another place"),
    errno.ENOSPC: ("the disk is full", "make room, then run the same command again"),
    errno.EDQUOT: ("the disk quota is used up", "make room, then run the same command again"),
    errno.EISDIR: ("this is a folder, not a file", "move it away, or give the name of a file"),
}


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 done, 1 our bug, 2 the caller's input or state, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # titles hold letters that a terminal's encoding may lack
            stream.reconfigure(errors="replace")
    console.configure()
    console.silence(processes.rank() > 0)  # of several processes, the first one speaks
    try:
        outcome = app(args=list(arguments) if arguments is not None else None, prog_name="gti", standalone_mode=False)
    except InputError as error:
        console.error(str(error))
        return 2
    except KeyboardInterrupt:
        outcome = 130
    except Exception as error:
        return _usage_or_bug(error)
    if outcome == 130:  # typer may turn Ctrl-C into this outcome by itself, and says nothing
        console.error("interrupted; run the same command again to go on")
    return outcome if isinstance(outcome, int) else 0


def _usage_or_bug(error: Exception) -> int:
    from importlib import import_module

    exceptions = import_module(typer.BadParameter.__mro__[1].__module__)  # click's own, or the copy inside typer
    if isinstance(error, exceptions.NoArgsIsHelpError):
        return 2  # it has printed the help when it was made
    if isinstance(error, exceptions.UsageError):
        hint = f" Try 'gti {error.ctx.info_name} --help'." if error.ctx and error.ctx.info_name != "gti" else ""
        console.error(error.format_message() + hint)
        return 2
    if isinstance(error, typer.Abort):
        console.error("interrupted; run the same command again to go on")
        return 130
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if isinstance(error, OSError) and error.errno in _REFUSED:
        problem, remedy = _REFUSED[error.errno]
        # pyarrow names the file in its message alone.
        place = _place(error.filename) if error.filename is not None else None
        console.error(str(InputError(problem if place else f"{problem} ({error})", where=place, remedy=remedy)))
        return 2
    import traceback

    traceback.print_exc()
    console.error(f"this is a bug in gti {__version__}: please report it with the lines above")
    return 1


def _place(name: object) -> str:
    """The file as a person knows it: what is being written has a temporary name, ``.NAME.part``."""
    path = Path(name.decode(errors="replace") if isinstance(name, bytes) else str(name))
    temporary = path.name.startswith(".") and path.suffix == ".part"
    return str(path.with_name(path.name[1 : -len(".part")]) if temporary else path)


def main() -> None:
    """Entry point of the ``gti`` script."""
    sys.exit(run())
