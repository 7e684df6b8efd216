"""Column widths of a table on a narrow terminal: text may be broken over several lines, numbers never."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

LONGEST_WORD = 16  # characters; longer words in text cells (paths, names) may be broken
SHORTEST_WORD = 8  # the same limit where a table does not fit otherwise
MOST_ROWS_TURNED = 6  # tables of at most this many rows may be turned: one column for each row
# All but new line and tab: with them a text could colour, move the cursor, or set the clipboard of some terminals.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BORDER = 3  # characters that a column needs beside its content: a border and two spaces


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> Table:
    """Lay a table out so that it fits ``width`` characters, if possible.

    These layouts are tried in turn: no word broken; words over `LONGEST_WORD` characters broken; a table of few rows
    turned on its side; words over `SHORTEST_WORD` characters broken. If none fits, the table is wider than ``width``.

    Args:
        title: The line above the table.
        columns: The names of the columns.
        rows: One value for each column in each row.
        width: The width of the terminal in characters; None means unlimited.

    Returns:
        A table whose columns have fixed widths.
    """
    numeric = [bool(rows) and all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    cells = [[cell(value) for value in row] for row in rows]
    widths = column_widths(columns, cells, numeric, width, width or LONGEST_WORD)  # a word of full width is not broken
    if widths is None:
        widths = column_widths(columns, cells, numeric, width)
    if widths is None and 0 < len(rows) <= MOST_ROWS_TURNED:
        turned_columns = [columns[0], *(row[0] for row in cells)]
        turned_rows = [[columns[i], *(row[i] for row in cells)] for i in range(1, len(columns))]
        turned_widths = column_widths(turned_columns, turned_rows, [False] * len(turned_columns), width)
        if turned_widths is not None:
            return _rich_table(title, turned_columns, turned_rows, [False] + [True] * len(rows), turned_widths)
    if widths is None:
        widths = column_widths(columns, cells, numeric, width, SHORTEST_WORD)
    if widths is None:
        widths = [least for least, _ in _width_limits(columns, cells, numeric, LONGEST_WORD)]
    return _rich_table(title, columns, cells, numeric, widths)


def columns_that_fit(
    columns: Sequence[str], rows: Sequence[Sequence[object]], dispensable: Sequence[str], width: int
) -> list[int]:
    """Choose the columns to show, so that no word has to be broken.

    Args:
        columns: The names of the columns.
        rows: One value for each column in each row.
        dispensable: Columns that may be left out, in this order, until the rest fits.
        width: The width of the terminal in characters.

    Returns:
        The indices of the columns to show, in ascending order.
    """
    cells = [[cell(value) for value in row] for row in rows]
    remaining = list(range(len(columns)))
    for name in dispensable:
        names = [columns[i] for i in remaining]
        shown = [[row[i] for i in remaining] for row in cells]
        if column_widths(names, shown, [False] * len(remaining), width, width) is not None:
            break
        remaining.remove(columns.index(name))
    return remaining


def column_widths(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    width: int | None,
    longest_word: int = LONGEST_WORD,
) -> list[int] | None:
    """Find a width for each column, so that the table is no wider than ``width``.

    Args:
        columns: The names of the columns.
        rows: The text of each cell.
        numeric: For each column, whether it holds numbers only, which are never broken.
        width: The width of the whole table in characters, borders included; None means unlimited.
        longest_word: Longer words in text cells may be broken.

    Returns:
        The widths in characters, without borders; None when the table cannot be made to fit.
    """
    limits = _width_limits(columns, rows, numeric, longest_word)
    widths = [natural for _, natural in limits]
    if width is None:
        return widths
    available = width - _BORDER * len(columns) - 1  # one more border on the left
    while sum(widths) > available:
        shrinkable = [i for i, (least, _) in enumerate(limits) if widths[i] > least]
        if not shrinkable:
            return None
        # Narrow the widest column by one character at a time: text is spread evenly over the columns.
        widths[max(shrinkable, key=lambda i: widths[i])] -= 1
    return widths


def cell(value: object) -> str:
    """Return the text of a table cell; floats have four digits, None is a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.4g}"
    return escape_control(str(value))


def escape_control(text: str, escape: str = "\\x") -> str:
    """Return a text with its control characters written out: a title must not command the terminal.

    Args:
        text: Any text, perhaps from a table or a file name; new lines and tabs stay.
        escape: What stands before the two hexadecimal digits of a character.
    """
    return _CONTROL.sub(lambda match: f"{escape}{ord(match[0]):02x}", text)


def _width_limits(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], longest_word: int
) -> list[tuple[int, int]]:
    """Return the smallest possible width and the natural width (no line broken) of each column."""
    from rich.cells import cell_len

    limits = []
    for i, name in enumerate(columns):
        lines = [line for row in rows for line in row[i].splitlines()]
        words = lines if numeric[i] else [word for line in lines for word in line.split()]
        longest = max(map(cell_len, words), default=0)
        least = max(longest if numeric[i] else min(longest, longest_word), *map(cell_len, name.split() or [""]), 1)
        heading = max(map(cell_len, name.splitlines()), default=0)
        limits.append((least, max([heading, *map(cell_len, lines), least])))
    return limits


def _rich_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right_aligned: Sequence[bool],
    widths: Sequence[int],
) -> Table:
    from rich.table import Table
    from rich.text import Text

    # As `Text`, which has no markup: a name such as [bold] is shown as it is.
    table = Table(title=Text(escape_control(title)), title_justify="left", title_style="bold")
    for name, is_right, width in zip(columns, right_aligned, widths, strict=True):
        table.add_column(
            Text(escape_control(name)), justify="right" if is_right else "left", overflow="fold", width=width
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table
