"""Signals that end a process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from gti_cli import app
from gti_cli.endings import Ended, raised_as_exceptions


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_is_one_line_and_the_exit_code_of_a_shell(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gti_cli.workspace import lineage

    # Whoever runs the tests under `nohup` has it ignored.
    was = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}

    def end(_: object) -> None:
        os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setattr(lineage, "inspect", end)
    monkeypatch.setattr("sys.argv", ["gti", "status", "-w", str(tmp_path)])
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    try:
        with pytest.raises(SystemExit) as left:
            app.main()
        assert left.value.code == code
        assert capsys.readouterr().err == f"error: ended by {name}; run the same command again to continue\n"
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
    finally:
        for number, handler in was.items():
            signal.signal(number, handler)


def test_it_passes_through_handlers_of_errors_and_runs_what_cleans_up() -> None:
    cleaned = []
    with pytest.raises(Ended), raised_as_exceptions():
        try:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except Exception:  # pragma: no cover
                cleaned.append("taken for an error")
        finally:
            cleaned.append("cleaned")
    assert cleaned == ["cleaned"]


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raised_as_exceptions():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_processes_of_a_launch_and_other_threads_keep_their_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look() -> None:
        with raised_as_exceptions():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    monkeypatch.setenv("WORLD_SIZE", "2")
    look()
    assert seen == [before, before]
