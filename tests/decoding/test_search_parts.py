"""One process or two, in one run or after a kill: the same bytes, and each user is searched once."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding import search_parts
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.candidate_scores import CandidateLists
from gti_cli.decoding.hypothesis_caches import SharedPrefix
from gti_cli.decoding.search_parts import ScoreRequest, Searcher, SearchRequest, extra_beams, score_parts
from gti_cli.decoding.trie import build_trie
from gti_cli.evaluation.evaluate import evaluate
from tests.support.decoding import CPU, PAD, VOCAB, case, every_score, token_ids
from tests.support.evaluation import World, make_world
from tests.support.evaluation_parts import evaluate_counted
from tests.support.launch import free_port, preloaded_processes, variables_of_rank
from tests.support.models import make_model

OPTIONS: dict[str, Any] = {"k": [3, 5], "batch_size": 2, "device": "cpu", "name": "e"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_parts, "PROMPTS_PER_PART", 2)


@pytest.fixture(scope="module")
def once_killed(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which an evaluation was killed (kill -9) before its fourth part."""
    world = make_world(tmp_path_factory.mktemp("killed"))
    started = preloaded_processes().Process(
        target=evaluate_counted, args=(str(world.workspace), str(world.interactions), OPTIONS, 3)
    )
    started.start()
    started.join(timeout=100)
    assert started.exitcode == -signal.SIGKILL
    assert not (world.workspace / "evaluation").exists()
    return world


@pytest.fixture
def killed(once_killed: World, tmp_path: Path) -> World:
    """A copy of it, to go on from."""
    shutil.copytree(once_killed.workspace, tmp_path / "space")
    return replace(once_killed, workspace=tmp_path / "space")


def _evaluate(rank: int, port: int, *arguments: Any) -> None:
    os.environ.update(variables_of_rank(rank, port))
    evaluate_counted(*arguments)


def in_two_processes(world: World, options: dict[str, Any]) -> None:
    context, port = preloaded_processes(), free_port()
    given = (str(world.workspace), str(world.interactions), options)
    started = [context.Process(target=_evaluate, args=(rank, port, *given)) for rank in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=120)
    assert [process.exitcode for process in started] == [0, 0]


def searched(world: World) -> list[list[int]]:
    files = sorted(world.workspace.glob("searched-*"))
    return [[int(line) for line in file.read_text().split()] for file in files]


def manifest_of(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world.workspace / "evaluation" / "e.json").read_text())
    return found


@pytest.fixture
def own_users(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The users that this process searches."""
    users: list[int] = []
    search = Searcher.search_part
    monkeypatch.setattr(
        Searcher, "search_part", lambda *given, **more: users.extend(given[2]) or search(*given, **more)
    )
    return users


def test_two_processes_write_the_bytes_of_one(world: World, small_parts: None) -> None:
    options = {**OPTIONS, "filter_seen": True, "search": "exact"}
    in_two_processes(world, options)
    two, shares = manifest_of(world), searched(world)
    assert len(shares) == 2 and all(len(share) > 2 for share in shares)
    assert sorted(itertools.chain(*shares)) == list(range(two["counts"]["evaluated"]))
    one = evaluate(world.interactions, world.workspace, **{**options, "name": "one"})
    assert sorted(one.outputs.values()) == sorted(two["outputs"].values())
    assert one.metrics == two["metrics"] and one.counts == two["counts"]


def test_a_killed_run_is_resumed(killed: World, small_parts: None, own_users: list[int]) -> None:
    world, (before,) = killed, searched(killed)
    assert len(before) == 6
    found = evaluate(world.interactions, world.workspace, **OPTIONS)
    assert sorted(before + own_users) == list(range(found.counts["evaluated"]))
    whole = evaluate(world.interactions, world.workspace, **{**OPTIONS, "name": "whole"})
    assert sorted(whole.outputs.values()) == sorted(found.outputs.values())
    assert not list((world.workspace / ".gti" / "staging").glob("*"))


def test_no_resume_starts_over(killed: World, small_parts: None, own_users: list[int]) -> None:
    found = evaluate(killed.interactions, killed.workspace, **{**OPTIONS, "resume": False})
    assert sorted(own_users) == list(range(found.counts["evaluated"]))


def test_half_a_part_is_searched_again(killed: World, small_parts: None, own_users: list[int]) -> None:
    stored = sorted((killed.workspace / ".gti" / "staging").glob("*/scratch/*/part-*.npz"))
    assert len(stored) == 3
    stored[1].write_bytes(stored[1].read_bytes()[:100])
    found = evaluate(killed.interactions, killed.workspace, **OPTIONS)
    assert len(own_users) == found.counts["evaluated"] - 4


def test_a_beam_is_as_wide_as_its_user_needs(world: World, small_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: dict[int, int] = {}
    search = Searcher.search_part

    def searched_with_width(
        self: Searcher, request: search_parts.SearchRequest, part: list[int], batch_size: int
    ) -> Any:
        found = search(self, request, part, batch_size)
        widths.update(dict.fromkeys(part, found["leaves"].shape[1]))
        return found

    monkeypatch.setattr(Searcher, "search_part", searched_with_width)
    found = evaluate(world.interactions, world.workspace, **{**OPTIONS, "filter_seen": True, "beams": 5})
    users = pq.read_table(world.workspace / "evaluation/e/per_user.parquet").to_pydict()["user_id"]
    seen = {user: len(set(items[:-1])) for user, items in world.histories.items()}
    assert [widths[n] for n in range(len(users))] == [5 + (8 if seen[user] <= 8 else 16) for user in users]
    assert found.counts["beams"] == 5 and found.counts["widest_beam"] == max(widths.values())


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 90)), max_size=200), st.integers(1, 100), st.integers(1, 100)
)
def test_every_prompt_is_in_one_part_with_others_of_its_width(
    users: list[tuple[int, int]], batch_size: int, beams: int
) -> None:
    lengths, seen = [length for length, _ in users], [count for _, count in users]
    request = SearchRequest(
        [[0] * length for length in lengths], [extra_beams(n) for n in seen], beams, beams, exact=False
    )
    found = request.parts(batch_size)
    assert sorted(number for part in found for number in part) == list(range(len(users)))
    for part in found:
        assert 0 < len(part) <= max(search_parts.PROMPTS_PER_PART, batch_size)
        assert len({request.extra[number] for number in part}) == 1
    # A user's width depends on that user alone, has room for the seen items, and is less than twice as wide as that.
    assert all(n <= request.extra[number] < max(2 * n, 9) for number, n in enumerate(seen))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_exact_search_keeps_to_the_batch_size(monkeypatch: pytest.MonkeyPatch, batch_size: int) -> None:
    codes, prompts = case(8, items=12, levels=2, prompts=5)
    trie = TrieTensors(build_trie(codes), token_ids(2), CPU)
    rows: list[int] = []
    prefill = SharedPrefix.prefill
    monkeypatch.setattr(SharedPrefix, "prefill", lambda *given: rows.append(len(given[1])) or prefill(*given))
    request = SearchRequest(prompts, [0] * 5, 3, 3, exact=True)
    Searcher(make_model(vocab_size=VOCAB), trie, PAD).search_part(request, range(5), batch_size)
    assert max(rows) == batch_size
    assert sum(rows) == 2 * len(prompts)  # those of the beam search, then those of the exact one


def test_scores_of_finished_parts_are_stored_and_not_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, prompts = case(8, items=30, levels=2, prompts=5)
    model, trie = make_model(vocab_size=VOCAB), build_trie(codes)
    lists = [[1, 2], [], list(range(9)), [4], [7, 7, 5]]
    request = ScoreRequest(prompts, CandidateLists.of(lists))
    searcher = Searcher(model, TrieTensors(trie, token_ids(2), CPU), PAD)
    monkeypatch.setattr(search_parts, "PROMPTS_PER_PART", 1)
    options: dict[str, Any] = {"batch_size": 1, "description": "", "unit": "users"}
    assert sorted(request.parts(1)) == [[0], [2], [3], [4]]
    whole = score_parts(searcher, request, **options)
    expected = [
        every_score(model, prompts[n], trie, token_ids(2))[trie.leaf_of_row[rows]]
        for n, rows in enumerate(lists)
        if rows
    ]
    np.testing.assert_allclose(whole, np.concatenate(expected), atol=2e-5)
    np.testing.assert_array_equal(score_parts(searcher, request, folder=tmp_path, **options), whole)
    stored = sorted(tmp_path.glob("part-*.npz"))
    assert len(stored) == 4
    stored[2].write_bytes(b"half a part")
    again: list[int] = []
    score = search_parts.score_items
    monkeypatch.setattr(search_parts, "score_items", lambda *a, **k: again.append(len(a[1])) or score(*a, **k))
    np.testing.assert_array_equal(score_parts(searcher, request, folder=tmp_path, **options), whole)
    assert again == [1]
