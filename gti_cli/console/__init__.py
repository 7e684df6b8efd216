"""Printing: results on stdout; progress, notes and warnings on stderr."""

from gti_cli.console.output import (
    Advance,
    configure,
    error,
    note,
    progress,
    result,
    say,
    set_muted,
    table,
    warn,
)

__all__ = [
    "Advance",
    "configure",
    "error",
    "note",
    "progress",
    "result",
    "say",
    "set_muted",
    "table",
    "warn",
]
