"""A cache of baselines' results in the workspace: a baseline is evaluated once for all checkpoints.

The cache key covers every input and option. A file that cannot be read counts as missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gti_cli.baselines.results import BaselineResult
from gti_cli.workspace.files import replacing

FORMAT = 1  # Raise it when a baseline's arithmetic changes: earlier results are then computed again.


def cache_path(folder: Path, name: str, key: Any) -> Path:
    """The cache file of a baseline.

    Args:
        folder: Folder of the cache.
        name: Name of the baseline.
        key: JSON value of all inputs and options that affect the results.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, name, key]).encode()).hexdigest()
    return folder / f"{name}-{digest[:16]}.measured"


def store_results(path: Path, results: Mapping[str, BaselineResult], report: Mapping[str, Any] | None) -> None:
    """Write the results of a baseline, or of its tuned and untuned form.

    Args:
        path: From `cache_path`.
        results: By name.
        report: How the baseline was tuned; None where it was not.
    """
    from safetensors.numpy import save_file

    arrays = {
        f"{name}/{metric}": column for name, result in results.items() for metric, column in result.values.items()
    }
    summary = {"metrics": {name: result.metrics for name, result in results.items()}, "report": report}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"found": json.dumps(summary)})


def load_results(path: Path) -> tuple[dict[str, BaselineResult], dict[str, Any] | None] | None:
    """Read the arguments of `store_results`, bit by bit; None where the file is missing or cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            summary = json.loads((file.metadata() or {})["found"])
            columns = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    results: dict[str, BaselineResult] = {}
    for name, metrics in summary["metrics"].items():
        # safetensors sorts arrays by name; the order of the metrics is that of every table.
        values = {metric: columns[f"{name}/{metric}"] for metric in metrics if f"{name}/{metric}" in columns}
        results[name] = BaselineResult(metrics, values)
    return results, summary["report"]
