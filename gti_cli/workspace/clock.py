"""How long a stage took, all attempts together: an interrupted run that goes on has not become a shorter one."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gti_cli.workspace.files import replacing

BEAT = 5.0  # seconds between two notes of the time: more than that is not lost by a kill


class RunClock:
    """Measures a stage: ``with clock: …``, then `report`.

    Args:
        kept: file in which the time so far is noted while the stage runs; what an earlier attempt noted there counts.
    """

    def __init__(self, kept: Path | None = None) -> None:
        self._kept = kept
        self._earlier = _read(kept)
        self._began = self._start = self._processor_start = 0.0
        self._spent = dict(self._earlier)
        self._stopped = threading.Event()
        self._beating: threading.Thread | None = None

    def __enter__(self) -> RunClock:
        self._began, self._start, self._processor_start = time.time(), time.monotonic(), time.process_time()
        if (cuda := _cuda()) is not None:
            cuda.reset_peak_memory_stats()
        if self._kept is not None:
            self._beating = threading.Thread(target=self._beat, daemon=True)
            self._beating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._beating is not None:
            self._beating.join()
        self._note()

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT):
            self._note()

    def _note(self) -> None:
        now = {
            "seconds": time.monotonic() - self._start,
            "processor_seconds": time.process_time() - self._processor_start,
            "attempts": 1,
        }
        self._spent = {name: value + self._earlier[name] for name, value in now.items()}
        if self._kept is None:
            return
        # A full disk, say, is the stage's to tell of: a clock must not hide it behind its own error.
        with suppress(OSError), replacing(self._kept) as temporary:
            temporary.write_text(json.dumps(self._spent), "utf-8")

    def report(self) -> dict[str, Any]:
        """For the manifest: seconds of wall time and of processor time (all threads of this process: what other work on
        the machine hardly changes), both over all ``attempts``; peak resident memory of this process in bytes,
        and where it used a GPU the peak of what torch took there; start and end of this attempt (UTC).
        """
        cuda = _cuda()
        return {
            "seconds": round(self._spent["seconds"], 3),
            "processor_seconds": round(self._spent["processor_seconds"], 3),
            "attempts": int(self._spent["attempts"]),
            "peak_memory_bytes": peak_memory(),
            **({} if cuda is None else {"peak_gpu_memory_bytes": int(cuda.max_memory_reserved())}),
            "started": _utc(self._began),
            "finished": _utc(time.time()),
        }


def _cuda() -> Any:
    """`torch.cuda` where this process computes on a GPU, else None; torch is not loaded for that."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def peak_memory() -> int | None:
    """Peak resident memory of this process in bytes (None where the system does not tell)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _read(kept: Path | None) -> dict[str, float]:
    spent = {"seconds": 0.0, "processor_seconds": 0.0, "attempts": 0.0}
    if kept is None:
        return spent
    try:
        found = json.loads(kept.read_text("utf-8"))
        return {name: float(found[name]) for name in spent}
    except (OSError, ValueError, KeyError, TypeError):
        return spent  # the first attempt, or a note that a kill cut short: counted from here


def _utc(when: float) -> str:
    return datetime.fromtimestamp(when, timezone.utc).isoformat(timespec="milliseconds")
