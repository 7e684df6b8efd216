"""Printing: results on stdout; progress, notes and warnings on stderr."""

from gti_cli.console.output import (
    Advance,
    configure,
    error,
    is_quiet,
    note,
    progress,
    result,
    say,
    set_muted,
    silence,
    table,
    warn,
    without_progress,
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
    "set_muted",
    "silence",
    "table",
    "warn",
    "without_progress",
]
