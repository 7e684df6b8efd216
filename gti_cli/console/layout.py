"""Tables on a terminal that is narrower than they are: words may break, figures never do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

LONGEST_WORD = 16  # longer words of a text (paths, names) may be broken
SHORTEST_WORD = 8  # and longer ones than that, where there is no other way
MOST_TURNED = 6  # rows of a table that may be turned on its side


def laid_out(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> Table:
    """A table that fits ``width`` characters where that can be: texts are folded; if that is not enough, a table of few
    rows is turned on its side. No figure is ever broken; what cannot fit is wider.

    Args:
        title: above it. columns: their names. rows: of one value a column. width: None for no limit.
    """
    right = [bool(rows) and all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    cells = [[cell(value) for value in row] for row in rows]
    widths = fitted(columns, cells, right, width, width or LONGEST_WORD)  # no word broken
    if widths is None:
        widths = fitted(columns, cells, right, width)
    if widths is None and 0 < len(rows) <= MOST_TURNED:
        turned = [columns[0], *(row[0] for row in cells)]
        lines = [[columns[i], *(row[i] for row in cells)] for i in range(1, len(columns))]
        if (found := fitted(turned, lines, [False] * len(turned), width)) is not None:
            return _table(title, turned, lines, [False] + [True] * len(rows), found)
    if widths is None:
        widths = fitted(columns, cells, right, width, SHORTEST_WORD)
    if widths is None:
        widths = [least for least, _ in _needs(columns, cells, right, LONGEST_WORD)]
    return _table(title, columns, cells, right, widths)


def kept(columns: Sequence[str], rows: Sequence[Sequence[object]], spare: Sequence[str], width: int) -> list[int]:
    """The columns that are shown in ``width`` characters: of ``spare``, the first go first, until no word is broken."""
    cells = [[cell(value) for value in row] for row in rows]
    left = list(range(len(columns)))
    for name in spare:
        shown = [[row[i] for i in left] for row in cells]
        if fitted([columns[i] for i in left], shown, [False] * len(left), width, width) is not None:
            break
        left.remove(columns.index(name))
    return left


def fitted(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    figures: Sequence[bool],
    width: int | None,
    word: int = LONGEST_WORD,
) -> list[int] | None:
    """A width for each column, so that the table is no wider than ``width``; None if there are none.

    Args:
        figures: which columns hold figures alone. width: of the table, borders included; None for no limit.
        word: longer words of texts may be broken.
    """
    needs = _needs(columns, rows, figures, word)
    widths = [natural for _, natural in needs]
    if width is None:
        return widths
    room = width - 3 * len(columns) - 1  # a border and two spaces for each column
    while sum(widths) > room:
        wide = [i for i, (least, _) in enumerate(needs) if widths[i] > least]
        if not wide:
            return None
        widths[max(wide, key=lambda i: widths[i])] -= 1
    return widths


def cell(value: object) -> str:
    """A value as a table shows it; floats get four digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.4g}"
    return str(value)


def _needs(
    columns: Sequence[str], rows: Sequence[Sequence[str]], figures: Sequence[bool], word: int
) -> list[tuple[int, int]]:
    """The least and the natural width of each column."""
    from rich.cells import cell_len

    found = []
    for i, name in enumerate(columns):
        lines = [line for row in rows for line in row[i].splitlines()]
        words = lines if figures[i] else [part for line in lines for part in line.split()]
        longest = max(map(cell_len, words), default=0)
        least = max(longest if figures[i] else min(longest, word), *map(cell_len, name.split() or [""]), 1)
        found.append((least, max([cell_len(name), *map(cell_len, lines), least])))
    return found


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], widths: Sequence[int]
) -> Table:
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", title_style="bold")
    for name, is_right, width in zip(columns, right, widths, strict=True):
        shown.add_column(Text(name), justify="right" if is_right else "left", overflow="fold", width=width)
    for row in rows:
        shown.add_row(*map(Text, row))
    return shown
