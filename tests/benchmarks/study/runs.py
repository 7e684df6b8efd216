"""Reads the folders of a study: the runs of each method and budget, the starts, and their training times."""

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
        scores: Metric -> (seeds, users).
        metrics: Content of `metrics.json` for each seed.
        manifests: Manifest of fine-tuning for each seed.
        geometry: Figures of `gti diagnose` for each seed.
        language: Figures of `language.py` for each seed.
    """

    scores: dict[str, list[Floats]] = field(default_factory=lambda: defaultdict(list))
    metrics: list[dict[str, Any]] = field(default_factory=list)
    manifests: list[dict[str, Any]] = field(default_factory=list)
    geometry: list[dict[str, Any]] = field(default_factory=list)
    language: list[dict[str, Any]] = field(default_factory=list)

    def of(self, metric: str) -> Floats:
        """Return the values of a metric, (seeds, users)."""
        return np.stack(self.scores[metric])


Cells = dict[tuple[str, str], Cell]


def collect(folders: Sequence[Path]) -> Cells:
    """Collect (budget, method) -> its runs; a run that several folders hold counts once."""
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
    """Read a run into its cell."""
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
    """Read the figures of `gti diagnose` for one checkpoint; empty where it was not run."""
    path = folder / "metrics.json"
    return dict(next(iter(read(path).values()))) if path.is_file() else {}


def start_name(method: str) -> str:
    """Return the name of the start from which a method is fine-tuned."""
    plain = method.partition("_")[0].removesuffix("-plain")
    return "start-" + STARTS.get(plain, plain)


def begin(folders: Sequence[Path], method: str) -> dict[str, Any]:
    """Read the geometry and the language figures (``ordinary_nats``, ``items_nats``) of a method's start."""
    name = start_name(method)
    for folder in folders:
        found = geometry(folder / "diagnostics" / name)
        if found:
            path = folder / "language" / f"{name}.json"
            return found | (read(path) if path.is_file() else {})
    return {}


def grounding_seconds(folders: Sequence[Path], method: str) -> float:
    """Return the seconds of grounding; 0 for methods without it."""
    name = start_name(method)
    if not name.startswith("start-gti"):
        return 0.0
    return seconds(read(next(path for f in folders if (path := f / name / "gti.json").is_file())))


def training_seconds(cell: Cell, folders: Sequence[Path], method: str) -> float:
    """Return the seconds of fine-tuning (mean over seeds) and grounding together."""
    return float(np.mean([seconds(m) for m in cell.manifests])) + grounding_seconds(folders, method)
