"""Figures of finished runs for the study's script: the best rate of a method's rows, or steps that fill a time.

python best.py FOLDER METHOD                                the rate with the highest NDCG@10 on validation users
python best.py FOLDER METHOD --steps RUN                    RUN's steps
python best.py FOLDER METHOD --steps RUN --and CHECKPOINT   RUN's steps, and as many more as fit into CHECKPOINT's time
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def best_rate(folder: Path, method: str) -> str:
    """Return the best rate as it was written; of equally good ones the smallest.

    Raises:
        SystemExit: When there is no run of the method.
    """
    found = []
    for path in (folder / "tuned").glob(f"tune-{method}-*.json"):
        rate = path.stem.removeprefix(f"tune-{method}-")
        try:
            value = float(rate)
        except ValueError:
            continue  # a run of another method, whose name begins like this one
        found.append((-read(path)["metrics"]["valid_ndcg@10"], value, rate))
    if not found:
        raise SystemExit(f"{folder / 'tuned'}: no run of {method}")
    return min(found)[2]


def more_steps(folder: Path, run: str, checkpoint: str | None = None) -> int:
    """Return the steps of ``run``, or of a run that takes its time and the time of making ``checkpoint`` together."""
    path = folder / "runs" / f"{run}.json"
    if not path.is_file():
        raise SystemExit(f"{path}: no such run: name its method before this one in METHODS, in the same folder")
    done = read(path)
    steps = int(done["counts"]["steps"])
    if checkpoint is None:
        return steps
    took = seconds(done)
    return round(steps * (took + seconds(read(folder / checkpoint / "gti.json"))) / took)


def seconds(manifest: dict[str, Any]) -> float:
    """Return the time of a stage: on a CPU its processor time, which other work on the machine hardly changes."""
    run = manifest["run"]
    on_cpu = str(run.get("device", "cpu")).startswith("cpu")
    return float(run["processor_seconds"] if on_cpu and "processor_seconds" in run else run["seconds"])


def read(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("method")
    parser.add_argument("--steps")
    parser.add_argument("--and", dest="checkpoint")
    given = parser.parse_args()
    if given.steps:
        print(more_steps(given.folder, given.steps, given.checkpoint))
    else:
        print(best_rate(given.folder, given.method))
