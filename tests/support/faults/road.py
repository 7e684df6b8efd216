"""The undisturbed run of every command, with which the disturbed ones are compared."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import pkgutil
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.faults import child, shop, state
from tests.support.faults.shop import Step


@dataclass
class Road:
    """What the steps leave behind, one after the other.

    Attributes:
        folder: Holds a copy of the shop before each step, and the folders of the cases.
        steps: The steps.
        before: Step -> contents before it.
        after: Step -> contents after it.
        changes: Step -> the changes of files that it makes, as event and path.
        seconds: Step -> how long it takes.
    """

    folder: Path
    steps: list[Step]
    before: dict[str, dict[str, bytes]] = field(default_factory=dict)
    after: dict[str, dict[str, bytes]] = field(default_factory=dict)
    changes: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def start_of(self, step: Step) -> Path:
        """The shop before a step; do not write here."""
        return self.folder / "before" / step.name

    def case(self, step: Step) -> Path:
        """A copy of the shop before a step, for one case."""
        return shop.copy(self.start_of(step), self.folder / f"case{os.getpid()}-{next(self._numbers)}")

    def step(self, name: str) -> Step:
        """The step of this name."""
        return next(step for step in self.steps if step.name == name)

    def drop(self, case: Path) -> None:
        """Remove the folder of a case and what lies beside it."""
        for path in self.folder.glob(f"{case.name}*"):
            shutil.rmtree(path, ignore_errors=True)


def preload() -> None:
    """Import all that commands import, so that their children need not."""
    import gti_cli

    for module in pkgutil.walk_packages(gti_cli.__path__, "gti_cli."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("transformers.models.qwen3.modeling_qwen3", "matplotlib.pyplot", "peft", "sklearn.decomposition"):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # the children share what does not change


def walk(folder: Path, names: Sequence[str] | None = None, seed: int = 0) -> Road:
    """Run the steps of these names (None: all), each in a process of its own, and keep what they leave behind.

    Args:
        folder: An empty folder.
        names: Names of steps.
        seed: Seed of the data and of the language model.
    """
    road = Road(folder, shop.steps(names))
    here = folder / "undisturbed"
    shop.write_inputs(here / "in", seed)
    road_contents = state.contents(here)
    for step in road.steps:
        if step.name == "merge":
            shop.write_adapter_of_the_shop(here)
            road_contents = state.contents(here)
        shop.copy(here, road.start_of(step))
        started = time.monotonic()
        outcome = child.run(step.words, here, watch=True)
        road.seconds[step.name] = time.monotonic() - started
        if outcome.code != 0:
            raise AssertionError(f"{step.name}: {outcome}")
        road.before[step.name] = road_contents
        road.after[step.name] = road_contents = state.contents(here)
        road.changes[step.name] = outcome.changes
    return road
