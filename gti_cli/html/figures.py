"""Figures as the cells of a page show them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any


def format_figure(value: Any, digits: int = 3) -> str:
    """A cell of a table: a few decimals for small numbers, one for large ones, a dash for None; text stays as it is.

    Args:
        value: A number, a text or None.
        digits: Decimals of a number with a fraction below 10.
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        text = f"{value:,.1f}" if abs(value) >= 10 else f"{value:.{digits}f}"
        zero = f"{0:.{digits}f}"
        return zero if text == f"-{zero}" else text
    return f"{value:,}" if isinstance(value, int) else str(value)


def format_interval(ends: Sequence[float] | None) -> str:
    """The ends of an interval in parentheses, to follow a figure; empty without an interval."""
    return "" if ends is None else f" ({format_figure(ends[0])} to {format_figure(ends[1])})"


def format_percent(share: float | None) -> str:
    """A share as a whole percentage, a dash for None."""
    return "–" if share is None else f"{100 * share:.0f} %"


def format_duration(seconds: float) -> str:
    """A duration in the units in which people say it: ``38 s``, ``4 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_time(text: str) -> str:
    """The time of a manifest (ISO 8601, UTC) to the minute: ``2026-11-28 06:18``; other texts stay as they are."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text
