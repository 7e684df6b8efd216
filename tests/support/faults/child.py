"""Run one command of `gti` in a copy of this process, and disturb it there.

The copy (`os.fork`) has imported everything already, so that a case costs the work of the command and no more. What
disturbs it are functions that every change of a file calls (an audit hook of Python's), or a signal from outside.
"""

from __future__ import annotations

import os
import posix
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Disturbance = Callable[[str, str], None]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate")
# `gti diagnose` writes the day on its page. Runs of another day, or with another clock, shall write the same bytes.
DAY_ON_PAGES = "1700000000"
LIMIT = 900.0  # seconds after which a command hangs; machines that run the suite are shared and slow at times


@dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
        code: Its exit code; minus the number of the signal that ended it.
        out: What it printed on stdout.
        err: What it printed on stderr.
        changes: The changes of files that it made, as event and path; empty unless it was watched.
    """

    code: int
    out: str
    err: str
    changes: tuple[tuple[str, str], ...] = ()


@dataclass
class Child:
    """A command that runs."""

    pid: int
    folder: Path
    place: Path

    def wait_for_its_begin(self) -> None:
        """Wait until the command line has begun."""
        while not (self.place / "began").exists():
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            time.sleep(0.001)

    def wait(self) -> Outcome:
        """Wait for its end, at most `LIMIT` seconds."""
        deadline = time.monotonic() + LIMIT
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"{self.folder}: the command hangs")
            time.sleep(0.002)
        texts = [(self.place / name).read_text("utf-8", "replace") for name in ("out", "err")]
        changes = self.place / "changes"
        lines = changes.read_text("utf-8").splitlines() if changes.is_file() else []
        made = tuple((line.split("\t")[0], line.split("\t")[1]) for line in lines)
        return Outcome(os.waitstatus_to_exitcode(status), texts[0], texts[1], made)


def run(words: Sequence[str], folder: Path, **more: Any) -> Outcome:
    """Run a command line in a folder, to its end; see `start`."""
    return start(words, folder, **more).wait()


def start(
    words: Sequence[str],
    folder: Path,
    *,
    disturb: Disturbance | None = None,
    watch: bool = False,
    before: Callable[[], None] | None = None,
    variables: dict[str, str] | None = None,
    logs: Path | None = None,
) -> Child:
    """Start a command line in a folder.

    Args:
        words: The command line without ``gti``.
        folder: The folder that the command runs in. Its temporary files go to ``folder.tmp``, which must be empty then.
        disturb: Called in the child before each change of a file, with the event and the path.
        watch: Whether the child writes down its changes.
        before: Called in the child before the command.
        variables: Further environment variables.
        logs: Where its output is kept (None: beside the folder).
    """
    place = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=logs or folder.parent))
    temporary = folder.with_name(f"{folder.name}.tmp")
    temporary.mkdir(exist_ok=True)
    temporary.chmod(0o777)
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads; the child uses none of them
        pid = posix.fork()  # not os.fork, which a tool that measures coverage may have replaced
    if pid:
        return Child(pid, folder, place)
    try:
        code = _run_here(words, folder, place, temporary, disturb, watch, before, variables or {})
    except BaseException:
        code = 99
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    posix._exit(code)


def _run_here(
    words: Sequence[str],
    folder: Path,
    place: Path,
    temporary: Path,
    disturb: Disturbance | None,
    watch: bool,
    before: Callable[[], None] | None,
    variables: dict[str, str],
) -> int:
    """In the child: run the command and return its exit code."""
    os.environ.update({"TMPDIR": str(temporary), "SOURCE_DATE_EPOCH": DAY_ON_PAGES, **variables})
    tempfile.tempdir = None
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from gti_cli import app

    log = os.open(place / "changes", os.O_WRONLY | os.O_CREAT | os.O_APPEND) if watch else None
    if before is not None:
        before()
    if log is not None or disturb is not None:
        sys.addaudithook(_watcher(str(folder), str(temporary), log, disturb))
    sys.argv = ["gti", *words]
    (place / "began").touch()
    try:
        app.main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


def _watcher(
    folder: str, temporary: str, log: int | None, disturb: Disturbance | None
) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that calls ``disturb`` before each change below the folders."""
    busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy or (event != "open" and event not in CHANGES):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        given = arguments[0]
        if isinstance(given, int):
            return
        path = Path(os.fsdecode(given))
        # shutil.rmtree removes by name in an open folder; the name alone then says nothing of the place
        whole = str(path if path.is_absolute() else Path.cwd() / path)
        if not whole.startswith((folder + os.sep, temporary + os.sep)):
            return
        busy = True
        try:
            if log is not None:
                os.write(log, f"{event}\t{os.path.relpath(whole, folder)}\n".encode())
            if disturb is not None:
                disturb(event, whole)
        finally:
            busy = False

    return hook
