"""Everything that the package prints: results on stdout; progress, notes and warnings on stderr.

Stages call `note`, `warn` and `progress` and never print by themselves; commands call `table`, `say` and `result`.
With ``--json`` stdout carries one JSON object and nothing else.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[..., None]


@dataclass
class _State:
    """The settings of this process.

    Attributes:
        quiet: No progress and no notes (``--quiet``).
        json_output: One JSON object instead of tables and lines (``--json``).
        muted: Nothing but errors, whatever the options say.
        open_bars: How many `progress` blocks are open.
    """

    quiet: bool = False
    json_output: bool = False
    muted: bool = False
    open_bars: int = 0


_state, _bars_lock = _State(), threading.Lock()


def configure(*, quiet: bool = False, json_output: bool = False) -> None:
    """Apply the options of a command; `set_muted` is left as it is.

    Args:
        quiet: Print no progress and no notes.
        json_output: Print one JSON object on stdout in place of tables and lines.
    """
    _state.quiet, _state.json_output = quiet, json_output


def set_muted(muted: bool) -> None:
    """Print nothing but errors, or print normally again.

    With several processes, all but the first are muted, since each of them would print the same lines.
    """
    _state.muted = muted


@contextmanager
def silence() -> Iterator[None]:
    """Print nothing but errors inside the block."""
    muted = _state.muted
    _state.muted = True
    try:
        yield
    finally:
        _state.muted = muted


def is_quiet() -> bool:
    """Tell whether progress and notes are off."""
    return _state.quiet or _state.muted


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def note(message: str) -> None:
    """Print a remark on stderr; nothing with ``--quiet``."""
    if not is_quiet():
        _stderr().print(message, style="dim", markup=False)


def warn(message: str) -> None:
    """Print a warning on stderr, also with ``--quiet``, because it may concern the correctness of a result."""
    if not _state.muted:
        _stderr().print(f"warning: {message}", style="yellow", markup=False)


def error(message: str) -> None:
    """Print the one line of a failed command on stderr."""
    _stderr().print(f"error: {message}", style="bold red", markup=False)


@contextmanager
def progress(description: str, total: int | None, unit: str = "items") -> Iterator[Advance]:
    """Show a progress bar with rate and remaining time on stderr.

    When stderr is no terminal, a line is printed at most every 30 seconds, so that logs stay readable. Of nested bars
    only the outermost is shown.

    Args:
        description: The activity, e.g. ``"Encoding texts"``.
        total: The number of units; None when it is not known in advance.
        unit: The name of what is counted, in the plural; the rate is shown in units per second.

    Yields:
        A function ``advance(n=1, *, note="")`` to call when ``n`` more units are done.
    """
    if is_quiet() or _state.open_bars:
        yield lambda *_args, **_kwargs: None
        return
    _count_bars(1)
    try:
        with _visible_progress(description, total, unit) as advance:
            yield advance
    finally:
        _count_bars(-1)


@contextmanager
def without_progress() -> Iterator[None]:
    """Show no progress bar inside the block: for work that others wait for, and no person watches."""
    _count_bars(1)
    try:
        yield
    finally:
        _count_bars(-1)


def _count_bars(more: int) -> None:
    """Count an open or a closed bar; several threads may do so."""
    with _bars_lock:
        _state.open_bars += more


@contextmanager
def _visible_progress(description: str, total: int | None, unit: str) -> Iterator[Advance]:
    console = _stderr()
    if not console.is_terminal:
        with _plain_progress(console, description, total, unit) as advance:
            yield advance
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeElapsedColumn(),
        bars.TextColumn("ETA"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[note]}", style="dim"),
    )
    with bars.Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, rate="", note="")

        def advance(n: int = 1, *, note: str = "") -> None:
            """Count ``n`` more units."""
            speed = bar.tasks[0].speed
            rate = f"{speed:,.4g} {unit}/s" if speed else ""
            bar.update(task, advance=n, rate=rate)
            if note:
                bar.update(task, note=note)

        try:
            yield advance
        except BaseException:
            bar.update(task, note="stopped")
            raise
        if total is not None and bar.tasks[0].completed < total:
            bar.update(task, note="ended early")


@contextmanager
def _plain_progress(console: Console, description: str, total: int | None, unit: str) -> Iterator[Advance]:
    import time

    started = last = time.monotonic()
    done, how_it_ended = 0, ""

    def line(now: float, comment: str) -> str:
        """Return the count so far, the rate and the remaining time."""
        rate = done / max(now - started, 1e-9)
        of_total = f"/{total:,}" if total is not None else ""
        eta = f", ETA {(total - done) / rate:,.0f} s" if total is not None and rate > 0 and done < total else ""
        eta = f", {how_it_ended}" if eta and how_it_ended else eta
        comment = f"  {comment}" if comment else ""
        return f"{description}: {done:,}{of_total} {unit}, {rate:,.4g} {unit}/s{eta}{comment}"

    def advance(n: int = 1, *, note: str = "") -> None:
        """Count ``n`` more units, and print a line every 30 seconds."""
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= 30:
            last = now
            console.print(line(now, note), style="dim", markup=False)

    is_whole = False
    try:
        yield advance
        is_whole = True
    finally:
        how_it_ended = "ended early" if is_whole else "stopped"  # stopped: by an error or by hand
        if done or is_whole:
            console.print(line(time.monotonic(), ""), style="dim", markup=False)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, dispensable: Sequence[str] = ()
) -> None:
    """Print a table on stdout; nothing with ``--json``. Numbers are right-aligned, floats have four digits.

    Args:
        title: The line above the table.
        columns: The names of the columns.
        rows: One value for each column in each row.
        dispensable: Columns that are left out on a narrow terminal, the first ones first; a line then names them.
    """
    if _state.json_output or _state.muted:
        return
    from rich.console import Console

    from gti_cli.console.layout import columns_that_fit, make_table

    # A pipe or a file has no width: the table is as wide as it needs, so that each row stays on one line of a log.
    is_terminal = sys.stdout.isatty()
    console = Console(highlight=False, emoji=False, width=None if is_terminal else 1 << 16)
    shown = columns_that_fit(columns, rows, dispensable, console.width)
    left_out = [name for i, name in enumerate(columns) if i not in shown]
    columns, rows = [columns[i] for i in shown], [[row[i] for i in shown] for row in rows]
    drawn = make_table(title, columns, rows, console.width if is_terminal else None)
    # If the table is still wider than the terminal, the terminal wraps its lines: rich must not cut anything off.
    # Without a terminal the width is the table's own, because rich fills the line of the title with spaces.
    needed = sum(column.width or 0 for column in drawn.columns) + 3 * len(drawn.columns) + 1
    console.width = max(console.width, needed) if is_terminal else max(needed, len(title))
    console.print(drawn, markup=False)
    if left_out:
        say(f"Left out because the terminal is narrow: {', '.join(left_out)}.")


def say(message: str = "") -> None:
    """Print a line of the result on stdout; nothing with ``--json``."""
    if not _state.json_output and not _state.muted:
        print(message)


def result(payload: dict[str, Any]) -> None:
    """Print ``payload`` as the one JSON object on stdout; nothing without ``--json``."""
    if _state.json_output and not _state.muted:
        print(json.dumps(payload, ensure_ascii=False, allow_nan=False, sort_keys=True))
