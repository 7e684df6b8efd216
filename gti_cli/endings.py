"""Signals that end a process, turned into exceptions, so that a command cleans up before it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gti_cli.workspace import processes

# What a scheduler, a container or a closed terminal sends. Ctrl-C (SIGINT) is an exception in Python already.
_SIGNALS = ("SIGTERM", "SIGHUP")


class Ended(BaseException):
    """A signal that ends the process; like `KeyboardInterrupt` it passes through ``except Exception``.

    Args:
        number: The number of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)

    @property
    def name(self) -> str:
        """The name of the signal, such as ``SIGTERM``."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """The exit code that a shell shows for a process that the signal has ended."""
        return 128 + self.number


@contextmanager
def raised_as_exceptions() -> Iterator[None]:
    """Inside the block, SIGTERM and SIGHUP raise `Ended` in the main thread.

    A signal that is ignored (as under ``nohup``) stays ignored. With several processes, the signals end a process at
    once: the launcher sends them because another process has failed, and waiting for that one could take minutes.
    """
    if processes.world() > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: object) -> None:
        """Raise the exception; a copy of this process, which a library has made, ends at once."""
        if os.getpid() != owner:
            os._exit(128 + number)
        raise Ended(number)

    replaced = {}
    for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
        if signal.getsignal(number) == signal.SIG_DFL:
            replaced[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
