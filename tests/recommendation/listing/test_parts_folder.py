"""Parts of `gti recommend --input` in files: shared among processes, resumed after a kill, always the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gti_cli import tables
from gti_cli.app import run
from gti_cli.decoding import search_parts
from gti_cli.decoding.search_parts import Searcher
from gti_cli.recommendation.listing import blended
from gti_cli.recommender.blended_lists import LoadedBlend
from tests.support.blends import Blended
from tests.support.evaluation import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("parts"))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_parts, "PROMPTS_PER_PART", 4)
    monkeypatch.setattr(blended, "_PART", 4)


class Process:
    """One of two processes that torchrun starts; ``parts`` counts what it worked on itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str = "search_part", owner: Any = Searcher) -> None:
        self._patch, self.parts, self.dies_at = monkeypatch, 0, 0
        work = getattr(owner, method)

        def counted(*arguments: Any, **keywords: Any) -> Any:
            self.parts += 1
            if self.parts == self.dies_at:
                raise KeyboardInterrupt
            return work(*arguments, **keywords)

        monkeypatch.setattr(owner, method, counted)

    def run(self, command: list[str], rank: int = 0, world: int = 1, dies_at: int = 0) -> int:
        self.parts, self.dies_at = 0, dies_at
        self._patch.setenv("RANK", str(rank))
        self._patch.setenv("WORLD_SIZE", str(world))
        return run(command)


def _variants(world: World, folder: Path) -> Iterator[list[str]]:
    start = ["recommend", "-w", str(world.workspace), "-q", "-k", "3", "--batch-size", "4", "--device", "cpu"]
    table = ["--input", str(world.interactions)]
    yield [*start, *table, "--filter-seen"]
    outside = folder / "out.csv"
    outside.write_text("item_id\ni1\ni2\n")
    yield [*start, *table, "--search", "exact", "--exclude", str(outside)]


def test_two_processes_and_a_resumed_one_write_what_one_writes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(monkeypatch)
    for number, command in enumerate(_variants(world, tmp_path)):
        alone, shared, resumed = (tmp_path / f"{name}{number}.parquet" for name in ("alone", "shared", "resumed"))
        assert process.run([*command, "-o", str(alone)]) == 0
        parts = process.parts
        assert parts > 3
        # The second process ends first; the first one needs all parts, and waits for those that are missing.
        assert process.run([*command, "-o", str(shared)], rank=1, world=2) == 0
        assert process.parts == parts // 2 and not shared.exists()
        assert process.run([*command, "-o", str(shared)], rank=0, world=2) == 0
        assert process.parts == parts - parts // 2
        assert shared.read_bytes() == alone.read_bytes()
        assert process.run([*command, "-o", str(resumed)], dies_at=3) == 130 and not resumed.exists()
        assert process.run([*command, "-o", str(resumed)]) == 0
        assert process.parts == parts - 2
        assert resumed.read_bytes() == alone.read_bytes()
    assert not list(tmp_path.glob(".*"))  # The parts are gone when the lists are written.


def test_parts_of_another_request_are_not_used(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process, (command, _) = Process(monkeypatch), _variants(world, tmp_path)
    expected, lists = tmp_path / "expected.parquet", tmp_path / "lists.parquet"
    assert process.run([*command, "--max-history", "2", "-o", str(expected)]) == 0
    parts = process.parts
    assert process.run([*command, "-o", str(lists)], dies_at=3) == 130
    assert process.run([*command, "--max-history", "2", "-o", str(lists)]) == 0
    assert process.parts == parts and lists.read_bytes() == expected.read_bytes()


def test_candidates_and_blends(blended: Blended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = blended.world
    start = ["recommend", "-w", str(world.workspace), "-q", "--device", "cpu", "--input", str(world.interactions)]
    users = list(world.histories)
    columns = {"user_id": [user for user in users for _ in range(3)], "item_id": ["i3", "i5", "i7"] * len(users)}
    tables.write(tmp_path / "found.parquet", columns)
    candidates = [*start, "finetuned", "--batch-size", "4", "--candidates", str(tmp_path / "found.parquet")]
    for command, process in (
        (candidates, Process(monkeypatch, "prior_behind")),
        ([*start, "blend"], Process(monkeypatch, "lists", LoadedBlend)),
    ):
        alone, shared = tmp_path / "alone.parquet", tmp_path / "shared.parquet"
        assert process.run([*command, "-o", str(alone)]) == 0
        parts = process.parts
        assert process.run([*command, "-o", str(shared)], rank=1, world=2) == 0
        assert 0 < process.parts < parts
        assert process.run([*command, "-o", str(shared)], rank=0, world=2) == 0
        assert process.parts < parts and shared.read_bytes() == alone.read_bytes()


def test_several_processes_need_a_file(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, _ = _variants(world, tmp_path)
    assert Process(monkeypatch).run(command, world=2) == 2
    assert "Give -o FILE.parquet" in capsys.readouterr().err
    assert Process(monkeypatch).run(["recommend", "-w", str(world.workspace), "--input", "-"], world=2) == 2
    assert "answers in one process" in capsys.readouterr().err
