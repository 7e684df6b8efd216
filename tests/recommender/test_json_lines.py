"""Lines of JSON: each is answered as the recommender answers it, or says what is wrong with it."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from typing import Any

import pytest

from gti_cli.recommender.json_lines import LineDefaults, answer_lines, waiting_lines
from gti_cli.recommender.recommender import Recommender
from gti_cli.recommender.settings import ListSettings

DEFAULTS = LineDefaults(ListSettings(4), frozenset({"i1"}), frozenset(f"i{row}" for row in range(20)), True)


def numbered(*lines: object) -> list[tuple[int, bytes]]:
    return [
        (number, line if isinstance(line, bytes) else json.dumps(line).encode())
        for number, line in enumerate(lines, start=1)
    ]


def test_every_line_is_answered_by_itself(recommender: Recommender) -> None:
    lines = numbered(
        {"history": ["i2", "i5"], "id": "u"},
        {"history": ["i2", "nope"], "id": 7},
        {"query": "red dress", "k": 2, "exclude": ["i3"]},
        {"history": ["i9"], "only": ["i1", "i9", "i4", "i25"], "filter_seen": False, "k": 2},
        b"{",
        {"history": ["i3"], "k": 2, "only": None},
    )
    found = answer_lines(recommender, lines, DEFAULTS)
    everything = [f"i{row}" for row in range(20)]
    expected: list[Any] = [
        recommender.recommend([["i2", "i5"]], k=4, exclude=["i1"], only=everything, filter_seen=True),
        None,
        recommender.recommend(queries=["red dress"], k=2, exclude=["i1", "i3"], only=everything),
        recommender.recommend([["i9"]], k=2, only=["i9", "i4"]),
        None,
        recommender.recommend([["i3"]], k=2, exclude=["i1"], only=everything, filter_seen=True),
    ]
    assert [answer["line"] for answer in found] == [1, 2, 3, 4, 5, 6]
    assert [answer.get("id") for answer in found] == ["u", 7, None, None, None, None]
    for answer, lists in zip(found, expected, strict=True):
        assert ("error" in answer) == (lists is None)
        if lists is not None:
            assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in lists[0].items]
            assert [item["score"] for item in answer["items"]] == pytest.approx(
                [item.score for item in lists[0].items], abs=1e-5
            )
            assert (answer["proven"], answer["cut"]) == (True, 0)
    assert "'nope'" in found[1]["error"] and "this is no JSON" in found[4]["error"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\xff", "this is no JSON"),
        (b"[" * 100_000, "this is no JSON"),
        (b'{"history": ["i1"], "id": NaN}', "this is no JSON"),
        (b'{"history": ["i1"], "id": [1e999]}', "this is no JSON"),
        (rb'{"history": ["i1"], "id": "\ud800"}', "surrogates not allowed"),
        (rb'{"history": ["i1"], "\ud800": 1}', "surrogates not allowed"),
        (rb'{"query": "\ud800"}', "surrogates not allowed"),
        ([], "this is no JSON object"),
        ({"histroy": []}, "unknown field: histroy"),
        ({}, "not said for whom"),
        ({"history": ["i1"], "query": "red"}, "a history and a query are given at once"),
        ({"history": []}, "the history is empty"),
        ({"history": "i1"}, "history is no list of item ids"),
        ({"history": [1.5]}, "history is no list of item ids"),
        ({"history": [True]}, "history is no list of item ids"),
        ({"query": 3}, "query is no text"),
        ({"history": ["i1"], "k": "3"}, "k is no whole number"),
        ({"history": ["i1"], "k": True}, "k is no whole number"),
        ({"history": ["i1"], "k": 0}, "-k is 0"),
        ({"history": ["i1"], "filter_seen": 1}, "filter_seen is neither true nor false"),
        ({"history": ["i1"], "only": ["i22"]}, "leave no item"),
        ({"history": ["i1"], "exclude": ["i99"]}, "does not have: 'i99'"),
    ],
)
def test_a_bad_line_says_what_is_wrong(recommender: Recommender, line: object, said: str) -> None:
    (answer,) = answer_lines(recommender, numbered(line), DEFAULTS)
    assert set(answer) == {"line", "error"} and said in answer["error"]
    json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()  # it can be printed


def test_what_is_huge_is_not_repeated(recommender: Recommender) -> None:
    for line in (
        {"history": ["A" * 10_000]},
        {"history": ["i1"], "B" * 10_000: 1},
        {"history": ["i1"], "only": ["C" * 10_000]},
    ):
        [answer] = answer_lines(recommender, [(1, json.dumps(line).encode())], LineDefaults(ListSettings()))
        assert len(answer["error"]) < 400


def test_a_history_too_long_for_the_model_and_a_huge_k_do_not_end_the_stream(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = recommender.model
    as_in_training = model.prompts_of_histories([[1] * model.trained_history]).ids[0]
    positions = len(as_in_training) + recommender.levels
    monkeypatch.setattr(model.searcher.model.config, "max_position_embeddings", positions)
    lines = numbered({"history": ["i1"] * 30}, {"history": ["i1"], "k": 10**9})
    long, huge = answer_lines(recommender, lines, LineDefaults(ListSettings(max_history=30)))
    assert f"more than the {positions} positions of the model" in long["error"]
    assert sorted(item["item_id"] for item in huge["items"]) == sorted(recommender.item_ids)


def test_lines_are_returned_as_they_come() -> None:
    sent: queue.Queue[bytes | None] = queue.Queue()

    def stream() -> Iterator[bytes]:
        while (line := sent.get()) is not None:
            yield line

    batches = waiting_lines(stream(), 2)
    sent.put(b"a\n")
    assert next(batches) == [(1, b"a\n")]  # although there may be more
    for line in (b"\n", b"b\n", b"c\n", b"d", None):
        sent.put(line)
    rest = [entry for batch in batches for entry in batch if len(batch) <= 2]
    assert rest == [(3, b"b\n"), (4, b"c\n"), (5, b"d")]


def test_a_stream_that_breaks_is_not_silent() -> None:
    def stream() -> Iterator[bytes]:
        yield b"a\n"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(waiting_lines(stream(), 2))
