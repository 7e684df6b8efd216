"""What a person sees: results on stdout; progress, notes and warnings on stderr.

Stages call `note`, `warn` and `progress` and never print; commands call `table` and `result`. With ``--json`` stdout
carries one object and nothing else, so notes and progress stay on stderr whatever the flags.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[..., None]


@dataclass
class _State:
    quiet: bool = False
    json_output: bool = False
    silent: bool = False
    bars: int = 0


_state = _State()


def configure(*, quiet: bool = False, json_output: bool = False) -> None:
    """Set what is printed: ``quiet`` drops progress and notes, ``json_output`` replaces tables by one object."""
    _state.quiet, _state.json_output = quiet, json_output


def silence(wanted: bool) -> None:
    """Print nothing but errors, whatever `configure` says: for all but the first of several processes."""
    _state.silent = wanted


def is_quiet() -> bool:
    """Whether progress and notes are off."""
    return _state.quiet or _state.silent


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """Say something by the way (stderr; silent with ``--quiet``)."""
    if not is_quiet():
        _stderr().print(message, style="dim", markup=False)


def warn(message: str) -> None:
    """Warn (stderr, also with ``--quiet``: what changes a result is never silent)."""
    if not _state.silent:
        _stderr().print(f"warning: {message}", style="yellow", markup=False)


def error(message: str) -> None:
    """Print the one line of a failed command (stderr)."""
    _stderr().print(f"error: {message}", style="bold red", markup=False)


@contextmanager
def progress(description: str, total: int | None, unit: str = "items") -> Iterator[Advance]:
    """Show a progress bar with rate and time left on stderr; yields ``advance(n=1, *, note="")``.

    Args:
        description: what is being done, e.g. ``"Encoding texts"``.
        total: how many units there are (None: not known).
        unit: what is counted; the rate is shown in it per second.

    On something that is no terminal a line is printed at most every 30 seconds, so that logs stay readable. Of bars
    within bars only the outermost is shown.
    """
    if is_quiet() or _state.bars:
        yield lambda *_args, **_kwargs: None
        return
    _state.bars += 1
    try:
        with _shown_progress(description, total, unit) as advance:
            yield advance
    finally:
        _state.bars -= 1


@contextmanager
def _shown_progress(description: str, total: int | None, unit: str) -> Iterator[Advance]:
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
    with bars.Progress(*columns, console=console) as shown:
        task = shown.add_task(description, total=total, rate="", note="")

        def advance(n: int = 1, *, note: str = "") -> None:
            """``n`` more are done."""
            speed = shown.tasks[0].speed
            rate = f"{speed:,.4g} {unit}/s" if speed else ""
            shown.update(task, advance=n, rate=rate)
            if note:
                shown.update(task, note=note)

        yield advance


@contextmanager
def _plain_progress(console: Console, description: str, total: int | None, unit: str) -> Iterator[Advance]:
    import time

    started = last = time.monotonic()
    done = 0

    def line(now: float, comment: str) -> str:
        """How far it is, how fast, and how long still."""
        rate = done / max(now - started, 1e-9)
        of = f"/{total:,}" if total is not None else ""
        eta = f", ETA {(total - done) / rate:,.0f} s" if total is not None and rate > 0 and done < total else ""
        return f"{description}: {done:,}{of} {unit}, {rate:,.4g} {unit}/s{eta}{'  ' + comment if comment else ''}"

    def advance(n: int = 1, *, note: str = "") -> None:
        """``n`` more are done; a line every half minute."""
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= 30:
            last = now
            console.print(line(now, note), style="dim", markup=False)

    yield advance
    console.print(line(time.monotonic(), ""), style="dim", markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, spare: Sequence[str] = ()) -> None:
    """Print a table on stdout (nothing with ``--json``). Numbers are right-aligned; floats get four digits.

    Args:
        title, columns, rows: of the table. spare: columns that a narrow terminal may do without; it is told of them.
    """
    if _state.json_output or _state.silent:
        return
    from rich.console import Console

    from gti_cli.console.layout import kept, laid_out

    # A pipe has no width: let the table be as wide as it needs, so that logs keep it in one piece.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 1 << 16)
    left = kept(columns, rows, spare, console.width)
    gone = [name for i, name in enumerate(columns) if i not in left]
    columns, rows = [columns[i] for i in left], [[row[i] for i in left] for row in rows]
    shown = laid_out(title, columns, rows, console.width if sys.stdout.isatty() else None)
    # Where not even that is enough the terminal breaks the lines: nothing is cut off. A pipe has no empty space either.
    natural = sum(column.width or 0 for column in shown.columns) + 3 * len(shown.columns) + 1
    console.width = max(console.width, natural) if sys.stdout.isatty() else max(natural, len(title))
    console.print(shown, markup=False)
    if gone:
        say(f"Left out on so narrow a terminal: {', '.join(gone)}.")


def say(message: str = "") -> None:
    """Print a line of the result on stdout (nothing with ``--json``)."""
    if not _state.json_output and not _state.silent:
        print(message)


def result(payload: dict[str, Any]) -> None:
    """With ``--json``: print ``payload`` as the one object on stdout. Without: nothing."""
    if _state.json_output and not _state.silent:
        print(json.dumps(payload, ensure_ascii=False, allow_nan=False, sort_keys=True))
