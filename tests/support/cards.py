"""Evaluations made by hand for the tests of model cards, and the code of a card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gti_cli.checkpoints.finding import Checkpoint, find_checkpoint
from gti_cli.workspace import Workspace, write_json
from gti_cli.workspace.manifest import Manifest

METRICS = {"recall@10": 0.25, "ndcg@10": 1 / 3, "coverage@10": 0.5}
INTERVALS = {"recall@10": [0.125, 0.375], "ndcg@10": [0.2, 0.4]}


def checkpoint_of(space: Workspace, name: str = "finetuned") -> Checkpoint:
    """A checkpoint of the workspace."""
    return find_checkpoint(space, name, name, "gti finetune")


def add_evaluation(
    space: Workspace, table: Path, name: str = "finetuned", *, checkpoint: str = "finetuned", **more: Any
) -> Manifest:
    """Write an evaluation with fixed figures, as `gti evaluate` leaves it."""
    found = checkpoint_of(space, checkpoint)
    role = more.pop("role", "interactions")
    options = {"split": "test", "k": [10], "search": "beam", "beams": 20, "filter_seen": False, **more}
    folder = f"evaluation/{name}"
    with space.stage(
        "evaluate", folder, [folder], options=options, inputs={role: table}, upstream=found.upstream(), force=True
    ) as run:
        run.path(folder).mkdir(parents=True)
        write_json(run.path(folder) / "metrics.json", METRICS)
        run.counts["evaluated"] = 1234
        run.metrics.update(
            metrics=METRICS,
            intervals=INTERVALS,
            baselines={"popularity": {"recall@10": 0.0625}},
            baseline_intervals={"popularity": {"recall@10": [0.03125, 0.09375]}},
        )
    return run.result()


def python_code(card: str) -> str:
    """The Python code of a card, one block after the other."""
    return "\n".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))
