"""The time of a stage, summed over its attempts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gti_cli.workspace import Workspace, clock
from gti_cli.workspace.clock import RunClock


def test_attempts_add_up(tmp_path: Path) -> None:
    kept = tmp_path / "TIME.json"
    for attempt in (1, 2, 3):
        with RunClock(kept) as running:
            time.sleep(0.05)
        found = running.report()
        assert found["attempts"] == attempt
        assert 0.05 * attempt <= found["seconds"] < 0.05 * attempt + 1
        assert 0 <= found["processor_seconds"] < found["seconds"] + 1
    assert json.loads(kept.read_text())["seconds"] == pytest.approx(found["seconds"], abs=1e-3)
    with RunClock() as alone:
        pass
    assert alone.report()["attempts"] == 1 and alone.report()["seconds"] < 0.05


def test_a_killed_attempt_counts_up_to_its_last_note(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal, time; from pathlib import Path; from gti_cli.workspace import clock\n"
        "clock.INTERVAL = 0.05\n"
        "with clock.RunClock(Path(sys.argv[1])): time.sleep(0.6); os.kill(os.getpid(), signal.SIGKILL)"
    )
    kept = tmp_path / "TIME.json"
    assert subprocess.run([sys.executable, "-c", code, str(kept)], check=False).returncode == -9
    with RunClock(kept) as running:
        pass
    assert 0.3 < running.report()["seconds"] < 5 and running.report()["attempts"] == 2


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"seconds": 1}', '{"seconds": "x", "processor_seconds": 1, "attempts": 1}']
)
def test_a_note_that_cannot_be_read_counts_nothing(tmp_path: Path, content: str) -> None:
    kept = tmp_path / "TIME.json"
    kept.write_text(content)
    with RunClock(kept) as running:
        pass
    assert running.report()["seconds"] < 0.5 and running.report()["attempts"] == 1


def test_an_interrupted_stage_keeps_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "INTERVAL", 0.01)
    space = Workspace(tmp_path / "ws")
    with pytest.raises(KeyboardInterrupt), space.stage("test", "made", ["made"], options={}) as run:
        (run.scratch / "work").write_text("half")
        time.sleep(0.2)
        raise KeyboardInterrupt
    with space.stage("test", "made", ["made"], options={}) as run:
        assert run.resuming
        run.path("made").write_text("whole")
    assert run.result().run["attempts"] == 2 and 0.2 < run.result().seconds < 5
    with space.stage("test", "made", ["made"], options={"other": 1}, force=True) as run:
        run.path("made").write_text("again")
    assert run.result().run["attempts"] == 1 and run.result().seconds < 0.2


class StandIn:
    """`torch.cuda` of a process that computes on a GPU: 7 bytes were taken before, then 5."""

    peak = 7

    def is_initialized(self) -> bool:
        return True

    def reset_peak_memory_stats(self) -> None:
        self.peak = 0

    def max_memory_reserved(self) -> int:
        return self.peak


def test_the_peak_on_a_gpu_is_that_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    cuda = StandIn()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "cuda", cuda)
        with RunClock() as running:
            cuda.peak = 5
        assert running.report()["peak_gpu_memory_bytes"] == 5
    with RunClock() as running:
        pass
    assert torch.cuda.is_initialized() or "peak_gpu_memory_bytes" not in running.report()
