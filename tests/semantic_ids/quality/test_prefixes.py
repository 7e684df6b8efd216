from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.semantic_ids.quality import prefixes
from gti_cli.semantic_ids.quality.prefixes import fullest_prefixes, neighbourhood_kept, purity


def naive_recall(vectors: np.ndarray, codes: np.ndarray, depth: int, k: int) -> tuple[float, float]:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    kept, chance = [], []
    for row in range(len(vectors)):
        others = [other for other in range(len(vectors)) if other != row]
        near = sorted(others, key=lambda other: -float(units[row] @ units[other]))[:k]
        same = {other for other in others if (codes[other, :depth] == codes[row, :depth]).all()}
        kept.append(len(same & set(near)) / k)
        chance.append(len(same) / len(others))
    return float(np.mean(kept)), float(np.mean(chance))


def test_neighbourhood_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 5)).astype(np.float32)
    codes = rng.integers(3, size=(60, 4)).astype(np.int32)
    codes[:, 0] = vectors[:, 0] > 0
    report = neighbourhood_kept(vectors, codes, seed=0, neighbours=7)
    assert (report["queries"], report["neighbours"]) == (60, 7)
    assert [entry["depth"] for entry in report["prefixes"]] == [1, 2, 3]
    for entry in report["prefixes"]:
        recall, chance = naive_recall(vectors, codes, entry["depth"], 7)
        assert entry["recall"] == pytest.approx(recall)
        assert entry["by_chance"] == pytest.approx(chance)
        assert entry["lift"] == pytest.approx(recall / chance)
        # The best embedding for these codes: all with one prefix are near one another.
        groups = np.unique(codes[:, : entry["depth"]], axis=0, return_inverse=True)[1].reshape(-1)
        ideal = np.eye(groups.max() + 1, dtype=np.float32)[groups]
        best = neighbourhood_kept(ideal, codes, seed=0, neighbours=7)["prefixes"][entry["depth"] - 1]
        assert entry["attainable"] == pytest.approx(best["recall"], abs=0.02)


def test_queries_are_a_sample_when_there_are_many() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((200, 4)).astype(np.float32)
    codes = (vectors[:, :1] > 0).astype(np.int32)
    some, whole = (neighbourhood_kept(vectors, codes, 0, queries=queries) for queries in (50, 200))
    assert some["queries"] == 50
    assert some["prefixes"][0]["recall"] == pytest.approx(whole["prefixes"][0]["recall"], abs=0.1)


def test_items_that_are_all_alike_and_one_item() -> None:
    report = neighbourhood_kept(np.ones((30, 3), np.float32), np.zeros((30, 2), np.int32), 0)
    assert [entry["recall"] for entry in report["prefixes"]] == [1.0, 1.0]
    assert neighbourhood_kept(np.ones((1, 3), np.float32), np.zeros((1, 2), np.int32), 0)["prefixes"] == []
    apart = neighbourhood_kept(np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)[:, None], 0)
    assert apart["prefixes"] == [{"depth": 1, "recall": 0.0, "by_chance": 0.0, "lift": None, "attainable": 0.0}]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), levels=st.integers(1, 3), seed=st.integers(0, 9))
def test_purity_against_counters(n: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=(n, levels)).astype(np.int32)
    values = [str(rng.choice(["", "hat", "coat", "shoe"])) for _ in range(n)]
    rows = [row for row in range(n) if values[row]]
    numbers = {"": -1, "hat": 0, "coat": 1, "shoe": 2}
    report = purity(np.array([numbers[value] for value in values]), codes, seed)
    assert len(report) == (levels if rows else 0)
    for entry in report:
        groups: dict[tuple[int, ...], Counter[str]] = {}
        for row in rows:
            groups.setdefault(tuple(codes[row, : entry["depth"]]), Counter())[values[row]] += 1
        best = sum(counter.most_common(1)[0][1] for counter in groups.values())
        assert entry["purity"] == pytest.approx(best / len(rows))
        assert entry["items"] == len(rows)
        assert 0 < entry["shuffled"] <= 1


def test_fullest_prefixes() -> None:
    codes = np.array([[2, 0], [1, 0], [2, 1], [2, 2], [0, 0], [1, 1]], dtype=np.int32)
    space = np.array([[0.0], [5], [1], [9], [7], [6]], dtype=np.float32)
    report = fullest_prefixes(
        codes, space, lambda rows: [["a", "b", "c\nmore", "d" * 80, "e", "f"][row] for row in rows], most=2
    )
    assert report[0] == {"prefix": "<a_2>", "items": 3, "share": 0.5, "titles": ["c", "a", "d" * 59 + "…"]}
    assert (report[1]["prefix"], report[1]["items"]) == ("<a_1>", 2)


def test_typical_items_of_a_group_that_is_read_in_blocks() -> None:
    space = np.random.default_rng(0).standard_normal((40_000, 2)).astype(np.float32)
    rows = np.arange(0, 40_000, 2)  # 20,000 rows: more than a block
    inside = space[rows].astype(np.float64)
    expected = ((inside - inside.mean(axis=0)) ** 2).sum(axis=1)
    np.testing.assert_array_equal(prefixes._distances_to_mean(space, rows), expected)


def test_fewer_items_are_looked_up_in_a_large_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "_MANY", 40)
    monkeypatch.setattr(prefixes, "QUERIES_OF_MANY", 9)
    vectors, codes = np.eye(41, 5, dtype=np.float32), np.zeros((41, 1), np.int32)
    assert neighbourhood_kept(vectors[:40], codes[:40], 0)["queries"] == 40
    assert neighbourhood_kept(vectors, codes, 0)["queries"] == 9
