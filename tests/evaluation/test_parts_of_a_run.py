"""One process or two, in one go or after a kill: the same bytes; nobody lost, nobody asked twice."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from gti_cli.evaluation.evaluate import evaluate
from gti_cli.ranking import parts
from gti_cli.ranking.parts import Searcher
from tests.evaluation.made import World, make_world

ROOT = Path(__file__).parents[2]
OPTIONS: dict[str, Any] = {"k": [3, 5], "batch_size": 2, "device": "cpu", "name": "e"}
SCRIPT = """
import json, sys
from tests.evaluation.test_parts_of_a_run import evaluate_counted
evaluate_counted(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
"""


def evaluate_counted(workspace: str, interactions: str, options: dict[str, Any], stop: int = -1) -> None:
    """Evaluate in parts of two users, and write down whom this process searches; killed before part ``stop``."""
    parts.PROMPTS = 2
    search, done = Searcher.__call__, []

    def counted(self: Searcher, asked: parts.Asked, part: list[int], batch_size: int) -> Any:
        if len(done) == stop:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(part)
        with Path(workspace, f"searched-{os.environ.get('RANK', '0')}").open("a") as file:
            file.write("".join(f"{number}\n" for number in part))
        return search(self, asked, part, batch_size)

    Searcher.__call__ = counted  # type: ignore[method-assign]
    torch.set_num_threads(1)
    evaluate(interactions, workspace, **options)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PROMPTS", 2)


def killed(world: World) -> list[int]:
    """Evaluate and be killed (kill -9) before the fourth part; returns the users searched before that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gti_cli.evaluation.evaluate", "transformers.models.qwen3"])
    started = context.Process(target=evaluate_counted, args=(str(world.workspace), str(world.interactions), OPTIONS, 3))
    started.start()
    started.join(timeout=100)
    assert started.exitcode == -signal.SIGKILL
    assert not (world.workspace / "evaluation").exists()
    (users,) = searched(world)
    assert len(users) == 6
    return users


def torchrun(world: World, options: dict[str, Any]) -> None:
    script = world.workspace.parent / "script.py"
    script.write_text(SCRIPT)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    given = (str(world.workspace), str(world.interactions), json.dumps(options))
    done = subprocess.run(
        [sys.executable, *launcher, str(script), *given],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def searched(world: World) -> list[list[int]]:
    files = sorted(world.workspace.glob("searched-*"))
    return [[int(line) for line in file.read_text().split()] for file in files]


def manifest_of(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world.workspace / "evaluation" / "e.json").read_text())
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The users that this process searches."""
    users: list[int] = []
    search = Searcher.__call__
    monkeypatch.setattr(Searcher, "__call__", lambda *given: users.extend(given[2]) or search(*given))
    return users


def test_two_processes_write_the_bytes_of_one(world: World, small_parts: None) -> None:
    options = {**OPTIONS, "filter_seen": True, "search": "exact"}
    torchrun(world, options)
    two, shares = manifest_of(world), searched(world)
    assert len(shares) == 2 and all(len(share) > 2 for share in shares)
    assert sorted(itertools.chain(*shares)) == list(range(two["counts"]["evaluated"]))
    one = evaluate(world.interactions, world.workspace, **{**options, "name": "one"})
    assert sorted(one.outputs.values()) == sorted(two["outputs"].values())
    assert one.metrics == two["metrics"] and one.counts == two["counts"]


def test_a_killed_run_is_taken_up(world: World, small_parts: None, asked: list[int]) -> None:
    before = killed(world)
    found = evaluate(world.interactions, world.workspace, **OPTIONS)
    assert sorted(before + asked) == list(range(found.counts["evaluated"]))
    whole = evaluate(world.interactions, world.workspace, **{**OPTIONS, "name": "whole"})
    assert sorted(whole.outputs.values()) == sorted(found.outputs.values())
    assert not list((world.workspace / ".gti" / "staging").glob("*"))


def test_no_resume_starts_over(world: World, small_parts: None, asked: list[int]) -> None:
    killed(world)
    found = evaluate(world.interactions, world.workspace, **{**OPTIONS, "resume": False})
    assert sorted(asked) == list(range(found.counts["evaluated"]))


def test_half_a_part_is_searched_again(world: World, small_parts: None, asked: list[int]) -> None:
    killed(world)
    stored = sorted((world.workspace / ".gti" / "staging").glob("*/scratch/*/part-*.npz"))
    assert len(stored) == 3
    stored[1].write_bytes(stored[1].read_bytes()[:100])
    found = evaluate(world.interactions, world.workspace, **OPTIONS)
    assert len(asked) == found.counts["evaluated"] - 4


def test_a_beam_is_as_wide_as_its_user_needs(world: World, small_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: dict[int, int] = {}
    search = Searcher.__call__

    def noted(self: Searcher, asked: parts.Asked, part: list[int], batch_size: int) -> Any:
        found = search(self, asked, part, batch_size)
        widths.update(dict.fromkeys(part, found["leaves"].shape[1]))
        return found

    monkeypatch.setattr(Searcher, "__call__", noted)
    found = evaluate(world.interactions, world.workspace, **{**OPTIONS, "filter_seen": True})
    users = pq.read_table(world.workspace / "evaluation/e/per_user.parquet").to_pydict()["user_id"]
    seen = {user: len(set(items[:-1])) for user, items in world.histories.items()}
    assert [widths[n] for n in range(len(users))] == [5 + (8 if seen[user] <= 8 else 16) for user in users]
    assert found.counts["beams"] == 5 and found.counts["widest_beam"] == max(widths.values())
