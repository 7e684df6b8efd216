"""The results of baselines, and the tables that an evaluation writes of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import tables

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BaselineResult:
    """The metrics of one baseline.

    Attributes:
        metrics: Each metric's mean over the users, and the metrics of all lists together, such as coverage.
        values: (U,) values of each metric that has one for each target.
    """

    metrics: dict[str, float]
    values: dict[str, Floats]


def file_stem(name: str) -> str:
    """A baseline's name in the form used for files: ``item-knn (untuned)`` becomes ``item-knn-untuned``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")


def baseline_table_path(folder: Path, name: str) -> Path:
    """The table of a baseline in the folder of an evaluation, such as ``baselines/item-knn-untuned.parquet``."""
    return folder / "baselines" / f"{file_stem(name)}.parquet"


def write_baseline_tables(folder: Path, keys: Mapping[str, Any], results: Mapping[str, BaselineResult]) -> None:
    """Write a table of each baseline, in the form of ``per_user.parquet`` or ``per_query.parquet``.

    Args:
        folder: Folder of the evaluation.
        keys: The columns that identify a row.
        results: By the baseline's name.
    """
    if results:
        (folder / "baselines").mkdir()
    for name, result in results.items():
        tables.write(baseline_table_path(folder, name), {**keys, **result.values})
