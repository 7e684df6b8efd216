"""What a person sees: results on stdout; progress, notes and warnings on stderr."""

from gti_cli.console.output import (
    Advance,
    configure,
    error,
    is_quiet,
    note,
    progress,
    result,
    say,
    silence,
    table,
    warn,
)

__all__ = [
    "Advance",
    "configure",
    "error",
    "is_quiet",
    "note",
    "progress",
    "result",
    "say",
    "silence",
    "table",
    "warn",
]
