"""What the folders of a study hold: cells of runs, starts, and what they took."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from best import read, seconds

Floats = npt.NDArray[np.float64]
STARTS = {"mean-more": "mean", "lc-rec": "mean", "gti-lc-rec": "gti"}


@dataclass
class Cell:
    """The runs of one method and budget, a seed each.

    Attributes:
        scores: metric -> (seeds, users). metrics, manifests, geometry, language: what the stages wrote, a seed each.
    """

    scores: dict[str, list[Floats]] = field(default_factory=lambda: defaultdict(list))
    metrics: list[dict[str, Any]] = field(default_factory=list)
    manifests: list[dict[str, Any]] = field(default_factory=list)
    geometry: list[dict[str, Any]] = field(default_factory=list)
    language: list[dict[str, Any]] = field(default_factory=list)

    def of(self, metric: str) -> Floats:
        """(seeds, users)."""
        return np.stack(self.scores[metric])


Cells = dict[tuple[str, str], Cell]


def collect(folders: Sequence[Path]) -> Cells:
    """(budget, method) -> its runs, each named once where several folders hold it."""
    cells: Cells = defaultdict(Cell)
    known: set[str] = set()
    for path in sorted((path for folder in folders for path in (folder / "runs").glob("*.json")), key=lambda p: p.name):
        named = re.fullmatch(r"(.+)-e([\d.]+)-s(\d+)", path.stem)
        if named is None or path.stem in known:
            continue
        known.add(path.stem)
        add(cells[(named[2], named[1])], path.parent.parent, path.stem)
    return cells


def add(cell: Cell, folder: Path, run: str) -> None:
    """Read one run."""
    metrics = read(folder / "evaluation" / run / "metrics.json")
    table = pq.read_table(folder / "evaluation" / run / "per_user.parquet")
    for metric in table.column_names:
        if re.match(r"recall@|ndcg@", metric):
            cell.scores[metric].append(table[metric].to_numpy())
    cell.metrics.append(metrics)
    cell.manifests.append(read(folder / "runs" / f"{run}.json"))
    cell.geometry.append(geometry(folder / "diagnostics" / run))
    cell.language.append(read(folder / "language" / f"{run}.json"))


def geometry(folder: Path) -> dict[str, Any]:
    """What `gti diagnose` says of one checkpoint; empty where it was not asked."""
    path = folder / "metrics.json"
    return dict(next(iter(read(path).values()))) if path.is_file() else {}


def start_name(method: str) -> str:
    """The start that a method's fine-tuning began from."""
    plain = method.partition("_")[0].removesuffix("-plain")
    return "start-" + STARTS.get(plain, plain)


def begin(folders: Sequence[Path], method: str) -> dict[str, Any]:
    """Geometry of a method's start, and the language that it kept (``ordinary_nats``, ``items_nats``)."""
    name = start_name(method)
    for folder in folders:
        found = geometry(folder / "diagnostics" / name)
        if found:
            path = folder / "language" / f"{name}.json"
            return found | (read(path) if path.is_file() else {})
    return {}


def grounding_seconds(folders: Sequence[Path], method: str) -> float:
    """What grounding took, for the methods that have it."""
    name = start_name(method)
    if not name.startswith("start-gti"):
        return 0.0
    return seconds(read(next(path for f in folders if (path := f / name / "gti.json").is_file())))


def training_seconds(cell: Cell, folders: Sequence[Path], method: str) -> float:
    """Fine-tuning (mean over seeds) and grounding together."""
    return float(np.mean([seconds(m) for m in cell.manifests])) + grounding_seconds(folders, method)
