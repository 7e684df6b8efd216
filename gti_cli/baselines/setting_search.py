"""The search for a baseline's best settings, by NDCG on held-out items, never on the items that are reported.

One setting at a time is changed, in the order of a grid, and the change is kept if it is better. `search_settings`
measures every value of a setting. `climb_settings` goes from one value to the next while that helps; it needs fewer
measurements, each of which is a training for some baselines. Both measure nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypeVar

from gti_cli import console

CUT_OFF = 10
PASSES = 2

Settings = TypeVar("Settings")  # A frozen dataclass of numbers.
Grid = Mapping[str, Sequence[float]]
Ends = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class TuningOutcome(Generic[Settings]):
    """The outcome of the tuning of a baseline.

    Attributes:
        best: The best settings.
        ndcg: Their NDCG@10 on the held-out items.
        untuned_ndcg: NDCG@10 of the default settings.
        tried: Number of settings measured.
        targets: Number of held-out items that they were measured on.
        held_out: Number of held-out items there are.
        grid: The values of each setting.
        at_edge: The settings whose best value is the last of the grid, although the grid could go on.
        items: Number of items that the held-out items were ranked among; None: the whole catalogue.
    """

    best: Settings
    ndcg: float
    untuned_ndcg: float
    tried: int
    targets: int
    held_out: int
    grid: Grid
    at_edge: Sequence[str]
    items: int | None = None

    def report(self) -> dict[str, Any]:
        """The outcome as the manifest has it."""
        return {
            "chosen": asdict(self.best),  # type: ignore[call-overload]
            f"ndcg@{CUT_OFF}": self.ndcg,
            f"ndcg@{CUT_OFF}_untuned": self.untuned_ndcg,
            "settings_tried": self.tried,
            "held_out_targets": self.held_out,
            "held_out_targets_used": self.targets,
            "grid": {name: list(values) for name, values in self.grid.items()},
            "at_edge": list(self.at_edge),
            **({} if self.items is None else {"items_ranked": self.items}),
        }


def search_settings(
    untuned: Settings, grid: Grid, ndcg_of: Callable[[Settings], float], label: str
) -> tuple[Settings, dict[Settings, float]]:
    """Measure every value of one setting after another, and keep the best.

    Passes over the grid go on until one changes nothing, or `PASSES` are done.

    Args:
        untuned: The settings to start from.
        grid: The values of each setting, in the order in which settings are searched.
        ndcg_of: Measures settings; called once for each of them.
        label: Name of the baseline for the progress bar.

    Returns:
        The best settings, and NDCG of all that were measured, ``untuned`` among them.
    """
    measured: dict[Settings, float] = {}
    # The default settings, and in each pass at most every other value of every setting.
    most = 1 + sum(len(values) - 1 for values in grid.values()) * PASSES
    with console.progress(f"Tuning {label}", most, "settings") as advance:

        def measure(settings: Settings) -> float:
            """NDCG with these settings; each is measured once."""
            if settings not in measured:
                advance()
                measured[settings] = ndcg_of(settings)
            return measured[settings]

        best = untuned
        measure(untuned)
        for _ in range(PASSES):
            before = best
            for name, values in grid.items():
                # `max` returns the first of equals: the present settings stay unless another value is truly better.
                best = max([best, *(with_value(best, name, value) for value in values)], key=measure)
            if best == before:
                break
    return best, measured


def climb_settings(
    start: Settings, grid: Grid, ndcg_of: Callable[[Settings], float], most: int, gain: float = 0.0
) -> tuple[Settings, dict[Settings, float], bool]:
    """Go from one value of a setting to its neighbour while that is better, for one setting after another.

    The search ends where no neighbour is better, or when ``most`` settings are measured.

    Args:
        start: The settings to start from; each of their values is in the grid.
        grid: The values of each setting in ascending order. Settings are searched in the order of the grid.
        ndcg_of: Measures settings; called once for each of them.
        most: Most settings to measure, at least 1.
        gain: A neighbour must be better by more than this share of the NDCG. Smaller differences are chance.

    Returns:
        The best settings; NDCG of all that were measured, in this order; and whether these include all neighbours of
        the best settings.
    """
    measured = {start: ndcg_of(start)}
    best, is_better = start, True
    while is_better:
        is_better = False
        for name, values in grid.items():
            for step in (1, -1):
                while (neighbour := _neighbour(best, name, values, step)) is not None:
                    if neighbour not in measured:
                        if len(measured) >= most:
                            return best, measured, False
                        measured[neighbour] = ndcg_of(neighbour)
                    if measured[neighbour] <= measured[best] * (1 + gain):
                        break
                    best, is_better = neighbour, True
    return best, measured, True


def _neighbour(settings: Settings, name: str, values: Sequence[float], step: int) -> Settings | None:
    """The settings with the next value of one of them; None after the last value."""
    place = values.index(getattr(settings, name)) + step
    return with_value(settings, name, values[place]) if 0 <= place < len(values) else None


def with_value(settings: Settings, name: str, value: float) -> Settings:
    """The settings with another value of one of them."""
    changes: dict[str, Any] = {name: value}
    return replace(settings, **changes)  # type: ignore[type-var]


def settings_at_edge(best: Any, grid: Grid, ends: Ends) -> list[str]:
    """Name the settings whose best value is the first or last of the grid: a value beyond it might be better.

    Args:
        best: The best settings.
        grid: The values of each setting in ascending order.
        ends: Values of a setting beyond which there is nothing, such as a weight of 0.
    """
    return [
        name
        for name, values in grid.items()
        if getattr(best, name) in (values[0], values[-1]) and getattr(best, name) not in ends.get(name, ())
    ]
