"""`gti_cli.Recommender`: the lists of `gti recommend` to the bit, those of scoring all items, and several threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli import tables
from gti_cli.decoding import hypothesis_caches
from gti_cli.errors import InputError
from gti_cli.recommendation.recommend import recommend
from gti_cli.recommender.recommender import Recommender
from gti_cli.recommender.results import RecommendedList
from tests.support.evaluation import HISTORY, ITEMS, World, item_scores, query_scores
from tests.support.priors import WITH_PRIOR

HISTORIES = [["i1", "i2", "i5"], ["i9"], ["i3", "i3", "i20", "i21", "i8", "i2"]]
KINDS = {"finetuned": "recommender", WITH_PRIOR: "with_prior"}


def pairs(found: RecommendedList) -> list[tuple[str, float]]:
    return [(item.item_id, item.score) for item in found.items]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("search", ["auto", "beam"])
def test_lists_are_those_of_the_command_to_the_bit(
    name: str, search: str, small_world: World, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    asked: Recommender = request.getfixturevalue(KINDS[name])
    excluded = ["i1", "i7"]
    tables.write(tmp_path / "out.parquet", {"item_id": excluded})
    for seen in (False, True):
        found = asked.recommend(HISTORIES, k=7, search=search, exclude=excluded, filter_seen=seen)
        lines = recommend(
            small_world.workspace,
            checkpoint=name,
            histories={str(number): history for number, history in enumerate(HISTORIES)},
            k=7,
            search=search,
            exclude=tmp_path / "out.parquet",
            filter_seen=seen,
            device="cpu",
            dtype="float32",
        )
        expected = [(line.user_id, line.rank, line.item_id, line.title, line.score, line.proven) for line in lines]
        mine = [
            (str(number), item.rank, item.item_id, item.title, item.score, answer.proven)
            for number, answer in enumerate(found)
            for item in answer.items
        ]
        assert mine == expected and len(mine) == 21
        assert [answer.cut for answer in found] == [0, 0, len(HISTORIES[2]) - HISTORY]


def test_lists_are_those_of_scoring_every_item(recommender: Recommender, small_world: World) -> None:
    users = item_scores(small_world)
    histories = [[f"i{row}" for row in small_world.histories[user][:-1]] for user in users]
    only = [[f"i{row}" for row in range(number % 3, ITEMS, 3)] for number in range(len(users))]
    only = [None if number % 4 == 3 else entry for number, entry in enumerate(only)]  # type: ignore[misc]
    found = recommender.recommend(histories, k=5, only=only)
    for answer, values, entry in zip(found, users.values(), only, strict=True):
        rows = range(ITEMS) if entry is None else [int(item[1:]) for item in entry]
        best = sorted(rows, key=lambda row: -round(float(values[row]), 4))[:5]
        assert [item.item_id for item in answer.items] == [f"i{row}" for row in best] and answer.proven
        np.testing.assert_allclose([item.score for item in answer.items], values[best], atol=1e-4)
    values = query_scores(small_world, "a red dress")
    answer = recommender.recommend(queries=[" a red dress"], k=5)[0]
    np.testing.assert_allclose([item.score for item in answer.items], np.sort(values)[::-1][:5], atol=1e-4)


def test_candidates_get_the_scores_of_forward_passes(recommender: Recommender, small_world: World) -> None:
    users = item_scores(small_world)
    histories = [[f"i{row}" for row in small_world.histories[user][:-1]] for user in users]
    candidates = [[f"i{row}" for row in range(number % 5)] for number in range(len(users))]  # also none
    found = recommender.score(histories, candidates=candidates)
    for scores, values, items in zip(found, users.values(), candidates, strict=True):
        assert scores == pytest.approx([float(values[int(item[1:])]) for item in items], abs=1e-4)


def test_nothing_that_all_prompts_begin_with_is_computed_twice(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError("a prefix was computed again")

    expected = [recommender.recommend([history])[0] for history in HISTORIES]
    monkeypatch.setattr(hypothesis_caches, "_read_prefix", forbidden)
    monkeypatch.setattr(Recommender, "load", forbidden)
    assert [recommender.recommend([history])[0] for history in HISTORIES] == expected
    recommender.recommend(queries=["a dress", "b"], k=2)
    recommender.score(HISTORIES[:1], candidates=[["i1"]])
    # What the others of a batch are changes scores by rounding alone.
    for alone, together in zip(expected, recommender.recommend(HISTORIES), strict=True):
        assert [item.item_id for item in together.items] == [item.item_id for item in alone.items]
        assert [item.score for item in together.items] == pytest.approx([i.score for i in alone.items], abs=1e-5)


def test_threads_get_their_own_answers(recommender: Recommender) -> None:
    histories = [[f"i{number}", f"i{(7 * number) % ITEMS}"] for number in range(4)]
    expected = [recommender.recommend([history], k=3, exclude=[history[0]])[0] for history in histories]
    queries = [recommender.recommend(queries=[f"dress {number}"], k=3)[0] for number in range(4)]
    wrong: list[object] = []

    def ask(number: int) -> None:
        for _ in range(2):
            found = recommender.recommend([histories[number]], k=3, exclude=[histories[number][0]])[0]
            answer = recommender.recommend(queries=[f"dress {number}"], k=3)[0]
            if found != expected[number] or answer != queries[number]:
                wrong.append((number, found, answer))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"histories": [["i1", "nope"]]}, "items without a semantic ID: 'nope'"),
        ({"histories": [["i1"], []]}, "the history is empty"),
        ({"queries": [" "]}, "the query is empty"),
        ({}, "it is not said for whom to recommend"),
        ({"histories": [["i1"]], "queries": ["red"]}, "histories and queries at once"),
        ({"histories": [["i1"]], "exclude": ["i99"]}, "items that the catalogue does not have: 'i99'"),
        ({"histories": [["i1"]], "only": ["i2"], "exclude": ["i2"]}, "leave no item to recommend"),
        ({"histories": [["i1"]], "filter_seen": [True, False]}, "filter_seen has 2 values for 1 requests"),
        ({"histories": [["i1"]], "k": 0}, "-k is 0"),
    ],
)
def test_bad_requests(recommender: Recommender, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        recommender.recommend(**asked)
    checked = {name: value for name, value in asked.items() if name not in ("filter_seen", "k")}
    if checked == asked:
        with pytest.raises(InputError, match=said):
            recommender.check(**checked)


def test_nothing_is_printed(recommender: Recommender, capsys: pytest.CaptureFixture[str]) -> None:
    recommender.check(HISTORIES, exclude=["i1"])
    recommender.recommend(HISTORIES, max_history=1)
    recommender.score(HISTORIES, candidates=[["i1"]] * 3)
    assert capsys.readouterr() == ("", "")


def test_kept_prompts_change_scores_by_rounding_alone(recommender: Recommender, small_world: World) -> None:
    cached = Recommender.load(small_world.workspace, device="cpu", dtype="float32", cache_bytes=1 << 20)
    longer = [[*history, "i4"] for history in HISTORIES[:2]]
    for asked in ({"histories": HISTORIES}, {"histories": longer}, {"queries": ["red dress", "red dress shoes"]}):
        for _ in range(2):
            for found, expected in zip(cached.recommend(**asked), recommender.recommend(**asked), strict=True):
                assert [item.item_id for item in found.items] == [item.item_id for item in expected.items]
                assert [item.score for item in found.items] == pytest.approx(
                    [i.score for i in expected.items], abs=1e-5
                )
    used = cached.prompt_cache.take_use()  # type: ignore[union-attr]
    assert used.whole >= 7 and used.part >= 1 and used.tokens_kept > used.tokens_read / 2
    assert cached.score(longer, candidates=[["i1"], ["i2"]]) == [
        pytest.approx(scores, abs=1e-5) for scores in recommender.score(longer, candidates=[["i1"], ["i2"]])
    ]
    for level, plain in zip(
        cached.explain(longer[0], item_id="i7"), recommender.explain(longer[0], item_id="i7"), strict=True
    ):
        assert level.log_probability == pytest.approx(plain.log_probability, abs=1e-5)
    assert recommender.prompt_cache is None
