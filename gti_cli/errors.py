"""The error for wrong input, and helpers for the text of error lines."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 200  # letters of a quoted value


class InputError(Exception):
    """An error that the caller can correct: wrong input, or a workspace in the wrong state.

    The command line prints it as one line and exits with code 2.

    Args:
        problem: What is wrong, e.g. ``"duplicate item_id 'A12' (first in row 3)"``.
        where: The place of the problem, e.g. ``"items.parquet, column 'item_id', row 7"``. Rows are counted from 1,
            below the header.
        remedy: What the caller can do about it, e.g. ``"remove one of the two rows"``.
    """

    def __init__(self, problem: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.problem, self.where, self.remedy = problem, where, remedy
        super().__init__(problem)

    def __str__(self) -> str:
        # Ids and texts of tables, of which a line quotes some, may have any length.
        where, problem = (part and _shortened(part) for part in (self.where, self.problem))
        line = f"{where}: {problem}" if where else str(problem)
        if self.remedy:
            line = f"{line.rstrip('.')}. {self.remedy[0].upper()}{self.remedy[1:]}"
        line = " ".join(line.split())  # a library's message in it may have several lines
        return line if line.endswith((".", "!", "?")) else line + "."


def _shortened(text: str, most: int = 800) -> str:
    """Leave out the middle of a text that is too long for a line."""
    return text if len(text) <= most else f"{text[: most * 3 // 4]} … {text[-most // 8 :]}"


def list_some(values: list[str], most: int = 3) -> str:
    """Quote the first few values for an error line: ``'a', 'b', 'c' and 2 more``. Long ones are cut.

    Args:
        values: The values.
        most: How many of them are quoted.
    """
    shown = ", ".join(quote(value) for value in values[:most])
    more = len(values) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def quote(value: object) -> str:
    """A value for an error line, cut where it is long: it may come from anybody, and have any length."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def list_names(names: Sequence[object], most: int = 10) -> str:
    """List the first few names for an error line, without quotes: ``a, b, c and 2 more``.

    Args:
        names: The names, such as those of a table's columns, or paths.
        most: How many of them are listed.
    """
    more = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {more:,} more" if more > 0 else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
