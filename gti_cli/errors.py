"""The one kind of error that a caller can mend."""

from __future__ import annotations


class InputError(Exception):
    """The caller's input or the workspace's state is wrong; the command line prints one line and exits with 2.

    Args:
        problem: what is wrong, e.g. ``"duplicate item_id 'A12' (first in row 3)"``.
        where: file, column and row as far as known, e.g. ``"items.parquet, column 'item_id', row 7"``.
        remedy: what to do about it, e.g. ``"remove one of the two rows"``.

    Rows are counted from 1, the first row below the header.
    """

    def __init__(self, problem: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.problem, self.where, self.remedy = problem, where, remedy
        super().__init__(problem)

    def __str__(self) -> str:
        line = f"{self.where}: {self.problem}" if self.where else self.problem
        if self.remedy:
            line = f"{line.rstrip('.')}. {self.remedy[0].upper()}{self.remedy[1:]}"
        line = " ".join(line.split())  # one line, whatever a library's message held
        return line if line.endswith((".", "!", "?")) else line + "."


def examples(values: list[str], most: int = 3) -> str:
    """Quote the first few of ``values`` for an error line, and say how many more there are."""
    shown = ", ".join(repr(value) for value in values[:most])
    more = len(values) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def first_line(error: BaseException) -> str:
    """What a library's error says in its first line, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
