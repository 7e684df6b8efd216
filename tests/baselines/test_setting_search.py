"""The two searches for settings, on functions whose best is known."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gti_cli.baselines.setting_search import climb_settings, search_settings, settings_at_edge

GRID = {"a": (1, 2, 4, 8), "b": (0.0, 0.5, 1.0)}


@dataclass(frozen=True)
class Point:
    a: float = 1
    b: float = 1.0


class Hill:
    """A function with its best at a = 4, b = 0.5, which counts its calls."""

    def __init__(self) -> None:
        self.calls: list[Point] = []

    def __call__(self, point: Point) -> float:
        self.calls.append(point)
        return -abs(point.a - 4) - abs(point.b - 0.5)


def test_both_find_the_best_and_measure_nothing_twice() -> None:
    for climbs in (False, True):
        hill = Hill()
        if climbs:
            best, measured, is_complete = climb_settings(Point(), GRID, hill, 20)
            assert is_complete
        else:
            best, measured = search_settings(Point(), GRID, hill, "hills")
        assert best == Point(4, 0.5) and measured[best] == 0 and Point() in measured
        assert len(hill.calls) == len(set(hill.calls)) == len(measured)


def test_equal_values_leave_the_settings_as_they_are() -> None:
    assert search_settings(Point(2), GRID, lambda _: 1.0, "plains")[0] == Point(2)
    assert climb_settings(Point(2), GRID, lambda _: 1.0, 20)[0] == Point(2)


@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_climb_ends_with_its_budget(most: int) -> None:
    best, measured, is_complete = climb_settings(Point(), GRID, Hill(), most)
    assert len(measured) == most and not is_complete
    assert measured[best] == max(measured.values())


def test_a_climb_measures_the_neighbours_alone() -> None:
    hill = Hill()
    climb_settings(Point(4, 0.5), GRID, hill, 20)
    assert set(hill.calls) == {Point(4, 0.5), Point(8, 0.5), Point(2, 0.5), Point(4, 0.0), Point(4, 1.0)}


def test_a_climb_does_not_follow_small_gains() -> None:
    slope = {1: 1.0, 2: 1.04, 4: 1.3, 8: 1.31}
    assert climb_settings(Point(1), GRID, lambda point: slope[int(point.a)], 20)[0].a == 8
    assert climb_settings(Point(1), GRID, lambda point: slope[int(point.a)], 20, gain=0.05)[0].a == 1
    assert climb_settings(Point(2), GRID, lambda point: slope[int(point.a)], 20, gain=0.05)[0].a == 4


def test_edges_are_named_unless_nothing_lies_beyond() -> None:
    assert settings_at_edge(Point(8, 1.0), GRID, {}) == ["a", "b"]
    assert settings_at_edge(Point(8, 1.0), GRID, {"b": (1.0,)}) == ["a"]
    assert settings_at_edge(Point(1, 0.0), GRID, {"a": (1,), "b": (1.0,)}) == ["b"]
    assert settings_at_edge(Point(2, 0.5), GRID, {}) == []
