"""The command line: registers the subcommands and turns errors into one line and an exit code.

Each subcommand is a module of `gti_cli.commands`, which imports its stage only when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import pairwise
from typing import Annotated

import typer

from gti_cli import __version__, console, endings, quick_start, system_errors
from gti_cli.commands import (
    blend,
    build_ids,
    diagnose,
    evaluate,
    export,
    extend,
    finetune,
    ground,
    import_data,
    recommend,
    report,
    serve,
    status,
)
from gti_cli.errors import InputError
from gti_cli.workspace import processes

app = typer.Typer(
    name="gti",
    help="Give a language model new tokens that carry meaning from the first step (Grounded Token Initialization).",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"gti {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("import")(import_data.import_data)
app.command("build-ids")(build_ids.build_ids)
app.command("extend")(extend.extend)
app.command("ground")(ground.ground)
app.command("finetune")(finetune.finetune)
app.command("blend")(blend.blend)
app.command("evaluate")(evaluate.evaluate)
app.command("diagnose")(diagnose.diagnose)
app.command("recommend")(recommend.recommend)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("export")(export.export)
app.command("status")(status.status)


_MAY_BE_EMPTY = ("--prompt",)  # of `gti build-ids`: no text before an item's text
_INTERRUPTED = "interrupted; run the same command again to continue"


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The command line after the word ``gti``; None means that of this process.

    Returns:
        The exit code: 0 after success, 1 for a bug in this package, 2 for wrong input or a workspace in the wrong
        state, 130 after an interrupt, 143 after SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Item titles may hold letters that the terminal's encoding lacks: print "?" instead of failing.
            stream.reconfigure(errors="replace")
    console.configure()
    console.set_muted(processes.rank() > 0)  # with several processes, only the first one prints
    try:
        _refuse_empty(sys.argv[1:] if arguments is None else arguments)
        outcome = app(args=list(arguments) if arguments is not None else None, prog_name="gti", standalone_mode=False)
    except InputError as error:
        console.error(str(error))
        return 2
    except KeyboardInterrupt:
        outcome = 130
    except endings.Ended as ended:
        console.error(f"ended by {ended.name}; run the same command again to continue")
        return ended.exit_code
    except Exception as error:
        return _exit_code(error)
    if outcome == 130:  # some versions of typer return this code after Ctrl-C, without a message
        console.error(_INTERRUPTED)
    return outcome if isinstance(outcome, int) else 0


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument: most come from a shell variable that is not set, and an empty path is this folder.

    Raises:
        InputError: When an argument is empty, where that has no meaning.
    """
    for before, argument in pairwise(["", *arguments]):
        option, is_assigned, value = argument.partition("=")
        if not argument and before not in _MAY_BE_EMPTY:
            what = before if before.startswith("-") else f"the argument behind {before!r}"
        elif option.startswith("--") and is_assigned and not value and option not in _MAY_BE_EMPTY:
            what = option
        else:
            continue
        raise InputError(f"{what} is empty", remedy="give a value, or leave it out (is a shell variable not set?)")


def _exit_code(error: Exception) -> int:
    """Print one line for an error other than `InputError`, and return the exit code."""
    from importlib import import_module

    # Newer versions of typer carry their own copy of click: take the exception classes from the module in use.
    exceptions = import_module(typer.BadParameter.__mro__[1].__module__)
    if isinstance(error, exceptions.NoArgsIsHelpError):
        return 2  # the help was printed when the exception was made
    if isinstance(error, exceptions.UsageError):
        hint = f" Try 'gti {error.ctx.info_name} --help'." if error.ctx and error.ctx.info_name != "gti" else ""
        message = error.format_message()
        console.error(message + ("" if message.endswith((".", "?", "!")) or not hint else ".") + hint)
        return 2
    if isinstance(error, typer.Abort):
        console.error(_INTERRUPTED)
        return 130
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    refusal = system_errors.explain(error)
    if refusal is None and processes.world() > 1:
        refusal = system_errors.explain_lost_process(error)
    if refusal is not None:
        console.error(str(refusal))
        return 2
    import traceback

    traceback.print_exc()
    console.error(f"this is a bug in gti {__version__}: please report it with the lines above")
    return 1


def main() -> None:
    """Run the ``gti`` script."""
    quick_start.begin()
    with endings.raised_as_exceptions():
        sys.exit(run())
