"""Baselines that were evaluated once are not evaluated again: a workspace's checkpoints stand beside the same ones.

What is kept hangs on all that decides it, the interactions and every option; a file that cannot be read counts as none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.workspace.files import replacing

Floats = npt.NDArray[np.float64]

FORMAT = 1  # to be raised when a baseline's arithmetic changes: what was kept before is then made again


@dataclass(frozen=True)
class Measured:
    """One baseline, evaluated.

    Attributes:
        metrics: name -> mean over the users, or a figure of all lists. values: metric -> (U,) one for each target.
    """

    metrics: dict[str, float]
    values: dict[str, Floats]


def path_of(folder: Path, name: str, asked: Any) -> Path:
    """Where the answer to ``asked`` (anything JSON can say) by the baseline ``name`` is kept."""
    digest = hashlib.sha256(json.dumps([FORMAT, name, asked]).encode()).hexdigest()
    return folder / f"{name}-{digest[:16]}.measured"


def keep(path: Path, found: Mapping[str, Measured], report: Mapping[str, Any] | None) -> None:
    """Write what a baseline (or two forms of one) reached, and how it was tuned."""
    from safetensors.numpy import save_file

    arrays = {f"{name}/{metric}": column for name, one in found.items() for metric, column in one.values.items()}
    told = {"metrics": {name: one.metrics for name, one in found.items()}, "report": report}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"found": json.dumps(told)})


def known(path: Path) -> tuple[dict[str, Measured], dict[str, Any] | None] | None:
    """What `keep` wrote, to the last bit; None where there is nothing that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            told = json.loads((file.metadata() or {})["found"])
            columns = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    found: dict[str, Measured] = {}
    for name, metrics in told["metrics"].items():
        # safetensors sorts by name; the metrics' own order is that of every table.
        values = {metric: columns[f"{name}/{metric}"] for metric in metrics if f"{name}/{metric}" in columns}
        found[name] = Measured(metrics, values)
    return found, told["report"]


def table_of(folder: Path, name: str) -> Path:
    """The table of a baseline's values in the folder of an evaluation: ``baselines/item-knn-untuned.parquet``."""
    return folder / "baselines" / f"{plain(name)}.parquet"


def plain(name: str) -> str:
    """A baseline's name as a file can have it: ``item-knn (untuned)`` -> ``item-knn-untuned``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")


def write_baselines(folder: Path, keys: Mapping[str, Any], found: Mapping[str, Measured]) -> None:
    """A table of each baseline, like ``per_user.parquet`` or ``per_query.parquet``: key columns, then its values."""
    if found:
        (folder / "baselines").mkdir()
    for name, one in found.items():
        tables.write(table_of(folder, name), {**keys, **one.values})
