"""Several processes of one launch: one decides and writes, the others follow."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace, processes
from tests.support.launch import preloaded_processes


def _process(root: str, rank: int, port: int, interrupted: bool, results: Any) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=str(port)
    )
    try:
        with Workspace(root).stage("train", "model", ["model.txt"], options={"x": 1}) as run:
            if not run.done:
                if rank == 0:
                    (run.scratch / "step").write_text("")
                if interrupted:
                    raise KeyboardInterrupt
                run.path("model.txt").write_text(f"by {rank}")
                run.metrics["loss"] = 0.5
        results.put((rank, run.done, run.resuming, run.result().metrics))
    except KeyboardInterrupt:
        results.put((rank, None, None, None))


def launch(root: Path, port: int, *, interrupted: bool = False) -> list[tuple[Any, ...]]:
    """What each of two processes saw; rank 1 starts first, so it has to wait."""
    context = preloaded_processes()
    results = context.Queue()
    started = [context.Process(target=_process, args=(str(root), rank, port, interrupted, results)) for rank in (1, 0)]
    for process in started:
        process.start()
    found = [results.get(timeout=60) for _ in started]
    for process in started:
        process.join()
    return sorted(found, key=lambda entry: entry[0])


def test_one_writes_and_all_agree(tmp_path: Path) -> None:
    assert launch(tmp_path, 1) == [(0, False, False, {"loss": 0.5}), (1, False, False, {"loss": 0.5})]
    assert (tmp_path / "model.txt").read_text() == "by 0"
    assert not list((tmp_path / ".gti" / "followers").iterdir())
    # Again: nothing to do, for both.
    assert [entry[:2] for entry in launch(tmp_path, 2)] == [(0, True), (1, True)]


def test_both_resume_or_neither(tmp_path: Path) -> None:
    launch(tmp_path, 1, interrupted=True)
    assert not (tmp_path / "model.txt").exists()
    assert [entry[:3] for entry in launch(tmp_path, 2)] == [(0, False, True), (1, False, True)]
    assert (tmp_path / "model.txt").read_text() == "by 0"


def test_waiting_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "TIMEOUT", 0.1)
    with pytest.raises(InputError, match="did not open the stage"):
        processes.await_decision(tmp_path, "model")


def test_a_later_stage_is_awaited_while_the_first_process_works_on_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may tune a baseline for longer than `TIMEOUT`, and the others have nothing to do there."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes, "TIMEOUT", 0.0)
    processes.announce(tmp_path, "first", {"done": False})
    later = threading.Timer(0.2, processes.announce, (tmp_path, "second", {"done": True}))
    later.start()
    assert processes.await_decision(tmp_path, "second") == {"done": True}
    later.join()
    monkeypatch.setattr(processes, "PATIENCE", 0.0)
    with pytest.raises(InputError, match="did not open the stage within 0 s"):
        processes.await_decision(tmp_path, "third")


def test_the_first_process_makes_what_all_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache" / "network"  # the folder comes with the first file
    cache: list[str] = []
    made: list[int] = []

    def work(rank: int) -> str:
        made.append(rank)
        cache.append("whole")
        return "whole"

    def load() -> str | None:
        return cache[0] if cache else None

    monkeypatch.setenv("RANK", "1")
    first = threading.Timer(0.1, work, (0,))
    first.start()
    assert processes.made_by_first(path, load, lambda: work(1)) == "whole" and made == [0]
    first.join()
    monkeypatch.setenv("RANK", "0")
    assert processes.made_by_first(path, load, lambda: work(0)) == "whole" and made == [0]
    cache.clear()
    assert processes.made_by_first(path, load, lambda: work(0)) == "whole" and made == [0, 0]
    cache.clear()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(processes, "SILENCE", 0.0)
    with pytest.raises(InputError, match="the first process has stopped making a file"):
        processes.made_by_first(path, load, lambda: work(1))


def test_alone_nothing_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (processes.rank(), processes.world()) == (0, 1)
    processes.announce(tmp_path, "model", {"done": True})
    assert not list(tmp_path.iterdir())


def test_a_process_alone_removes_what_a_killed_launch_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for world, left in (("2", True), ("1", False)):
        for folder in (processes.DECISIONS, processes.FOLLOWERS):
            (tmp_path / folder / "1-model").mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("WORLD_SIZE", world)
        processes.remove_leftovers(tmp_path)
        assert bool(list(tmp_path.iterdir())) is left


def test_announcements_of_earlier_launches_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for port in ("1", "2"):
        monkeypatch.setenv("MASTER_PORT", port)
        processes.announce(tmp_path, "model", {"done": port == "2"})
    assert processes.await_decision(tmp_path, "model") == {"done": True}
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setattr(processes, "TIMEOUT", 0.1)
    with pytest.raises(InputError):
        processes.await_decision(tmp_path, "model")


def test_followers_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_muted(True)
    try:
        console.note("note")
        console.warn("warning")
        console.say("result")
        console.table("T", ["x"], [[1]])
        with console.progress("Working", 1) as advance:
            advance()
    finally:
        console.set_muted(False)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_batches_are_shared_without_loss_and_in_lockstep_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [[0, 1], [2, 3], [4], [5], [6]]
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts, lockstep = [], []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        parts.append(processes.share(batches))
        lockstep.append(processes.share(batches, lockstep=True))
    assert sorted(batch for part in parts for batch in part) == batches
    assert [len(part) for part in lockstep] == [2, 2, 2]
    assert [[list(batch) for batch in part if batch] for part in lockstep] == parts


def reading(path: Path) -> Callable[[], str | None]:
    return lambda: path.read_text() if path.is_file() else None


def test_the_first_process_shows_that_it_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SIGN_OF_LIFE", 0.01)
    path = tmp_path / "cache" / "made"
    sign = path.with_name(".made.at-work")

    def make() -> str:
        for _ in range(3):
            sign.unlink(missing_ok=True)
            while not sign.exists():
                time.sleep(0.005)
        path.write_text("1")
        return "1"

    assert processes.made_by_first(path, reading(path), make) == "1"
    assert sorted(file.name for file in path.parent.iterdir()) == [".made.lock", "made"]
    assert processes.made_by_first(path, reading(path), lambda: pytest.fail("it is there")) == "1"


def test_the_others_wait_while_the_first_process_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    path, sign, clock = tmp_path / "made", tmp_path / ".made.at-work", [0.0]

    def sleep(_: float) -> None:
        """What happens meanwhile: the first process works for an hour, and shows it now and then."""
        clock[0] += processes.SILENCE - 1
        sign.touch()
        os.utime(sign, ns=(0, int(clock[0] * 1e9)))
        if clock[0] > 3600:
            path.write_text("1")

    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    made = processes.made_by_first(path, reading(path), lambda: pytest.fail("the first process makes it"))
    assert made == "1"
    assert clock[0] > 3600


def test_a_process_that_has_died_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(processes, "SILENCE", 0.1)
    (tmp_path / ".made.at-work").touch()  # the last sign of it
    path = tmp_path / "made"
    with pytest.raises(InputError, match="the first process has stopped making a file"):
        processes.made_by_first(path, reading(path), lambda: pytest.fail("the first process makes it"))
