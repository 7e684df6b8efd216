"""The last table of the demo: three starts of the new rows, and a behaviour prior, side by side.

Usage: ``python sample_data/compare.py [FOLDER]``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gti_cli import console
from gti_cli.workspace import Workspace

# method -> (checkpoint before fine-tuning, checkpoint after it, stages whose time counts as training)
METHODS = {
    "mean + SFT": ("mean-start", "mean", ("mean",)),
    "text-lstsq + SFT": ("extended", "text", ("text",)),
    "text-lstsq + GTI + SFT": ("grounded", "gti", ("grounded", "gti")),
    "text-lstsq + SFT, item-knn inside": ("extended", "prior", ("prior",)),
}
COLUMNS = ["method", "steps", "training s", "R@10", "NDCG@10", "eff. rank: start", "after", "RSA r: start", "after"]


def main(folder: Path) -> None:
    """Print the table, the folder of the pictures, and commands to try next."""
    space = Workspace(folder)
    geometry = read(folder / "diagnostics" / "demo" / "metrics.json")
    rows: list[list[Any]] = []
    for method, (start, end, stages) in METHODS.items():
        manifests = [space.manifest(stage) for stage in stages]
        scores = read(folder / "evaluation" / end / "metrics.json")["metrics"]
        before, after = geometry[start], geometry[end]
        rows.append(
            [
                method,
                manifests[-1].counts["steps"] if manifests[-1] else None,
                round(sum(manifest.seconds for manifest in manifests if manifest)),
                scores["recall@10"],
                scores["ndcg@10"],
                before["effective_rank"],
                after["effective_rank"],
                before.get("rsa_pearson"),
                after.get("rsa_pearson"),
            ]
        )
    for name, scores in read(folder / "evaluation" / "gti" / "metrics.json")["baselines"].items():
        rows.append([name, None, None, scores["recall@10"], scores["ndcg@10"], None, None, None, None])
    console.table("The sample shop (synthetic; one seed): three starts, and a behaviour prior", COLUMNS, rows)
    pictures = sorted(path.name for path in (folder / "diagnostics" / "demo").glob("*.png"))
    print(f"Pictures in {folder / 'diagnostics' / 'demo'}: {', '.join(pictures)}")
    print(f"Next: gti status -w {folder}    gti diagnose --help    or your own table: gti build-ids items.parquet")


def read(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
