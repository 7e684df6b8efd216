"""A finished workspace without any model: manifests, tables and pictures as the stages leave them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from gti_cli import tables
from gti_cli.tables.histories import read_interactions
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

# Markup, right-to-left text, an emoji, a title with a second line: pages must show all of them as text.
TITLES = [
    '<b>Silk</b> & "co"',
    "\u05e9\u05de\u05dc\u05d4",
    "Boots \U0001f462",
    "Hat\nsecond line",
    *map("Item {}".format, range(4, 9)),
]
CODES = [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 2], [2, 0, 0], [2, 1, 0], [0, 1, 1]]
HISTORIES = {"u0": [0, 1, 2, 3], "u1": [4, 5, 4, 6], "u<2>": [1, 2, 8, 7]}
LISTS = {"u0": [5, 3, 1], "u1": [6, 4, 0], "u<2>": [0, 1, 2]}  # the targets are 3 (rank 2), 6 (rank 1), 7 (missing)


def png(width: int = 7, height: int = 3) -> bytes:
    """Return a small picture."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def write_interactions(path: Path) -> Path:
    """Write the table of interactions."""
    rows = [(user, f"i{item}", time) for user, items in HISTORIES.items() for time, item in enumerate(items)]
    users, items, times = map(list, zip(*rows, strict=True))
    tables.write(path, {"user_id": users, "item_id": items, "timestamp": times})
    assert len(read_interactions(path, set(items)).items) == len(HISTORIES)
    return path


def add_ids(space: Workspace) -> Manifest:
    """Write the artifact ``semantic_ids``."""
    items = [f"i{n}" for n in range(len(CODES))]
    outputs = ["semantic_ids.parquet", "items.parquet"]
    with space.stage("build-ids", "semantic_ids", outputs, options={"encoder": "lsa"}) as run:
        tokens = ["".join(f"<{level}_{code}>" for level, code in zip("abc", row, strict=True)) for row in CODES]
        tables.write(run.path(outputs[0]), {"item_id": items, "codes": CODES, "tokens": tokens})
        tables.write(run.path(outputs[1]), {"item_id": items, "text": TITLES, "title": TITLES})
        run.details.update(sizes=[3, 2, 3], encoder="lsa", quantizer="rq-kmeans", collisions="next-best")
        run.counts["items"] = len(items)
        run.metrics.update(
            levels=[
                {"level": level, "codes": 3, "used": 2, "perplexity": 1.5, "explained_variance": 0.5}
                for level in range(3)
            ],
            collisions_before={"items": 2},
            collisions_after={"items": 0},
            explained_variance=0.5,
            neighbourhood={"prefixes": [{"depth": 1, "recall": 0.25, "by_chance": 0.125}]},
            purity={"categories": [{"depth": 1, "purity": 0.75, "shuffled": 0.5}]},
        )
    return run.result()


def add_checkpoint(
    space: Workspace, command: str, name: str, upstream: dict[str, Manifest], **content: Any
) -> Manifest:
    """Write a checkpoint's manifest, and a folder with a file in it."""
    with space.stage(command, name, [name], options={"name": name}, upstream=upstream, checkpoint=True) as run:
        run.path(name).mkdir()
        (run.path(name) / "config.json").write_text("{}")
        if curve := content.pop("curve", None):
            tables.write(run.path(name) / "trajectory.parquet", curve)
        for part, values in content.items():
            getattr(run, part).update(values)
    return run.result()


def add_evaluation(
    space: Workspace, name: str, checkpoint: Manifest, interactions: Path, ndcg: float = 0.5
) -> Manifest:
    """Write an evaluation with stored lists."""
    artifact = f"evaluation/{name}"
    options = {"k": [2, 3], "split": "test", "search": "beam", "beams": 3, "filter_seen": False, "checkpoint": name}
    with space.stage(
        "evaluate",
        artifact,
        [artifact],
        options=options,
        inputs={"interactions": interactions},
        upstream={checkpoint.name: checkpoint},
    ) as run:
        folder = run.path(artifact)
        folder.mkdir(parents=True)
        rows = [(user, rank, f"i{item}") for user, items in LISTS.items() for rank, item in enumerate(items, start=1)]
        users, ranks, items = map(list, zip(*rows, strict=True))
        tables.write(folder / "recommendations.parquet", {"user_id": users, "rank": ranks, "item_id": items})
        targets = {user: f"i{items[-1]}" for user, items in HISTORIES.items()}
        tables.write(
            folder / "per_user.parquet",
            {"user_id": list(targets), "target": list(targets.values()), "history": [3] * len(targets)},
        )
        run.counts.update(evaluated=3, catalogue=len(CODES))
        run.metrics.update(
            metrics={"recall@2": 0.25, "ndcg@2": ndcg, "mrr": 0.125},
            intervals={"ndcg@2": [ndcg - 0.1, ndcg + 0.1]},
            baselines={"popularity": {"recall@2": 0.375, "ndcg@2": 0.0625}},
            slices={"history_length": {"21+": {"ndcg@2": 0.75, "targets": 1}, "3-5": {"ndcg@2": 0.5, "targets": 2}}},
        )
    return run.result()


def figures(grade: str = "grounded") -> dict[str, Any]:
    """The figures of a diagnosis that pages show."""
    levels = {"0": {"centred_pearson": 0.375, "centred_p": 0.001}}
    ranks = {"effective_rank": 12.5, "pretrained_effective_rank": 20.0}
    place = {"nearest_pretrained_cosine_q50": 0.5, "pretrained_nearest_cosine_q05": 0.25}
    return {"verdict": grade, "reason": f"why {grade}", "advice": "wait", "rsa_levels": levels, **ranks, **place}


def add_diagnosis(space: Workspace, name: str, checkpoints: dict[str, Manifest]) -> Manifest:
    """Write a diagnosis with one picture."""
    artifact = f"diagnostics/{name}"
    with space.stage("diagnose", artifact, [artifact], options={"name": name}, upstream=checkpoints) as run:
        run.path(artifact).mkdir(parents=True)
        (run.path(artifact) / "cosine.png").write_bytes(png())
        run.metrics.update({label: figures() for label in checkpoints})
        run.details["checkpoints"] = list(checkpoints)
    return run.result()


def make_workspace(root: Path, interactions: Path) -> Workspace:
    """Write a workspace in which every stage has run."""
    space = Workspace(root)
    ids = add_ids(space)
    start = add_checkpoint(
        space,
        "extend",
        "extended",
        {"semantic_ids": ids},
        details={"model": "tiny", "initializer": "mean"},
        metrics={"new_rows_effective_rank": 1.0},
    )
    grounded = add_checkpoint(
        space,
        "ground",
        "grounded",
        {"extended": start, "semantic_ids": ids},
        metrics={"retrieval@1_before": 0.125, "retrieval@1": 0.375, "retrieval_chance@1": 0.0625},
        counts={"steps": 2, "steps_planned": 4},
        details={"new_tokens": 8},
    )
    tasks = {"next-item": {"passes": 0.5, "valid_loss_before": 9.5, "valid_loss": 1.25}}
    tuned = add_checkpoint(space, "finetune", "finetuned", {"grounded": grounded}, metrics={"tasks": tasks})
    add_evaluation(space, "finetuned", tuned, interactions)
    add_diagnosis(space, "one", {"grounded": grounded, "finetuned": tuned})
    return space
