"""Measure how long a stage took, summed over an interrupted run and its resumed attempts."""

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

INTERVAL = 5.0  # seconds between two records of the time; a kill loses no more than that


class RunClock:
    """Measures the time of a stage: run it inside ``with clock:``, then call `report`.

    Args:
        record: The file in which a thread records the time so far while the stage runs. If it exists already, its
            times are those of earlier attempts and are added. None means that nothing is recorded.
    """

    def __init__(self, record: Path | None = None) -> None:
        self._record = record
        self._earlier = _read_record(record)
        self._began = self._start = self._processor_start = 0.0
        self._total = dict(self._earlier)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> RunClock:
        self._began, self._start, self._processor_start = time.time(), time.monotonic(), time.process_time()
        if (cuda := _cuda_in_use()) is not None:
            cuda.reset_peak_memory_stats()
        if self._record is not None:
            self._thread = threading.Thread(target=self._write_regularly, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._write()

    def _write_regularly(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self._write()

    def _write(self) -> None:
        attempt = {
            "seconds": time.monotonic() - self._start,
            "processor_seconds": time.process_time() - self._processor_start,
            "attempts": 1,
        }
        self._total = {name: value + self._earlier[name] for name, value in attempt.items()}
        if self._record is None:
            return
        # On a full disk the stage itself fails with a clear error, which an error of the clock must not hide.
        with suppress(OSError), replacing(self._record) as temporary:
            temporary.write_text(json.dumps(self._total), "utf-8")

    def report(self) -> dict[str, Any]:
        """Return the measurements for the manifest.

        Returns:
            ``seconds`` of wall time, ``processor_seconds`` (all threads of this process, which other work on the
            machine hardly changes) and the number of ``attempts``, all three summed over the attempts;
            ``peak_memory_bytes`` of this process; ``peak_gpu_memory_bytes`` that torch reserved, if the process used a
            GPU; ``started`` and ``finished`` of this attempt in UTC.
        """
        cuda = _cuda_in_use()
        return {
            "seconds": round(self._total["seconds"], 3),
            "processor_seconds": round(self._total["processor_seconds"], 3),
            "attempts": int(self._total["attempts"]),
            "peak_memory_bytes": _peak_memory(),
            **({} if cuda is None else {"peak_gpu_memory_bytes": int(cuda.max_memory_reserved())}),
            "started": _utc(self._began),
            "finished": _utc(time.time()),
        }


def _cuda_in_use() -> Any:
    """Return `torch.cuda` if this process computes on a GPU, else None; never imports torch."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _peak_memory() -> int | None:
    """Return the peak resident memory of this process in bytes, or None if the system does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)  # macOS reports bytes, Linux kibibytes


def _read_record(record: Path | None) -> dict[str, float]:
    """Return the times of earlier attempts; zeros if there is no record, or a kill left half of one."""
    zeros = {"seconds": 0.0, "processor_seconds": 0.0, "attempts": 0.0}
    if record is None:
        return zeros
    try:
        recorded = json.loads(record.read_text("utf-8"))
        return {name: float(recorded[name]) for name in zeros}
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return zeros


def _utc(when: float) -> str:
    return datetime.fromtimestamp(when, timezone.utc).isoformat(timespec="milliseconds")
