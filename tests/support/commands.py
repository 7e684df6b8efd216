"""Stand-ins for stages, so that tests of commands need no model."""

from __future__ import annotations

from typing import Any

from gti_cli.workspace.manifest import Manifest


class RecordingStage:
    """A stage that records its arguments and returns what it was given.

    Attributes:
        calls: The positional and keyword arguments of each call.
    """

    def __init__(self, result: Any) -> None:
        self.result = result
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Record the call."""
        self.calls.append((arguments, keywords))
        return self.result


def make_manifest(name: str, command: str = "test", **fields: Any) -> Manifest:
    """A manifest with the given fields; all others are empty."""
    run = {"seconds": 2.5, **fields.pop("run", {})}
    return Manifest.from_json({**Manifest.placeholder(name).to_json(), "command": command, "run": run, **fields})


EVALUATION_COUNTS = {"evaluated": 90, "catalogue": 1200, "semantic_ids": 1190, "beams": 20}
EVALUATION = make_manifest(
    "evaluation/tuned",
    "evaluate",
    options={"k": [5, 10], "split": "test", "history": 20, "filter_seen": True},
    counts=EVALUATION_COUNTS,
    metrics={
        "metrics": {"recall@5": 0.5, "recall@10": 0.75, "ndcg@5": 0.25, "ndcg@10": 0.375},
        "intervals": {name: [0.125, 0.875] for name in ("recall@5", "recall@10", "ndcg@5", "ndcg@10")},
        "baselines": {"popularity": {"recall@5": 0.0625, "recall@10": 0.0, "ndcg@5": 0.0, "ndcg@10": 0.0}},
        "tuning": {
            "item-knn": {
                "settings_tried": [1, 2, 3],
                "chosen": {"neighbours": 50, "shrink": 0.5},
                "held_out_targets_used": 80,
                "held_out_targets": 100,
            }
        },
    },
)
