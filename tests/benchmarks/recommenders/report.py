"""Print the table of run.sh and draw its picture, finished or not: python report.py FOLDER

Prints Markdown and writes it to FOLDER/report.md, with recommenders.png beside it. A method trained with several seeds
is one line: means over the seeds, the standard deviation over them, and differences of each user's mean over the seeds.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from gti_cli.baselines.results import baseline_table_path
from gti_cli.metrics.intervals import differences, intervals
from gti_cli.plot_style import COLOURS, PRETRAINED, style

Floats = npt.NDArray[np.float64]

METRICS = ("recall@10", "recall@20", "ndcg@10")
BASELINES = ("item-knn", "content-knn", "sasrec")
SHOWN = {
    "mean": "LM, new rows start as the mean, prior item-knn",
    "text-lstsq": "LM, new rows start from texts, prior item-knn",
    "gti": "LM, grounded, prior item-knn",
    "trained-prior": "LM, grounded, prior of all three",
    "two-baselines": "blend of sasrec and item-knn",
    "two-and-lm": "blend of sasrec, item-knn and the LM, prior item-knn",
    "without-lm": "blend of all three baselines",
    "blend": "blend of all three and the LM, prior item-knn",
    "blend-trained": "blend of all three and the LM, prior of all three",
    "blend-seeds": "the same with that LM of several seeds",
}
WITHOUT_LM = ("two-baselines", "without-lm")
RARE = {"0": "never", "1-4": "1 to 4 times"}


@dataclass(frozen=True)
class Measured:
    """One line of the table.

    Attributes:
        name: As the table shows it.
        values: (seeds, users) of each metric.
        users: Users in the order of the columns.
        slices: Recall@10 by how often the target stands in training, a number for each seed.
        seconds: Processor time of training, a number for each seed; empty for baselines.
    """

    name: str
    values: dict[str, Floats]
    users: list[str]
    slices: dict[str, list[float]]
    seconds: list[float]

    def by_user(self) -> dict[str, Floats]:
        """Each user's mean over the seeds."""
        return {metric: table.mean(0) for metric, table in self.values.items()}


def read(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def user_values(path: Path) -> tuple[dict[str, Floats], list[str]]:
    """Read the metrics of each user, and the users."""
    table = pq.read_table(path)
    return {metric: table[metric].to_numpy() for metric in METRICS}, table["user_id"].to_pylist()


def collect(folder: Path) -> list[Measured]:
    """Read what is finished: baselines first, then language models, then blends."""
    finished = sorted(path.parent for path in (folder / "evaluation").glob("*/metrics.json"))
    runs: dict[str, list[Path]] = {}
    for path in finished:
        if match := re.fullmatch(r"(.+?)(-s\d+)?", path.name):
            runs.setdefault(match[1], []).append(path)
    lines = []
    anyone = next(path for name in SHOWN for path in runs.get(name, []))
    for name in BASELINES:
        table = baseline_table_path(anyone, name)
        if table.is_file():
            values, users = user_values(table)
            stacked = {metric: column[None] for metric, column in values.items()}
            lines.append(
                Measured(name, stacked, users, rare(read(anyone / "metrics.json")["baseline_slices"][name]), [])
            )
    return lines + [measured(folder, name, runs[name]) for name in SHOWN if name in runs]


def measured(folder: Path, name: str, runs: Sequence[Path]) -> Measured:
    """Read a method's evaluations, one for each seed."""
    tables = [user_values(path / "per_user.parquet") for path in runs]
    found = [read(path / "metrics.json") for path in runs]
    values = {metric: np.stack([one[metric] for one, _ in tables]) for metric in METRICS}
    slices = {part: [rare(one["slices"])[part][0] for one in found] for part in RARE}
    return Measured(SHOWN[name], values, tables[0][1], slices, [training(folder, path.name) for path in runs])


def rare(slices: Mapping[str, Any]) -> dict[str, list[float]]:
    """Recall@10 of the targets that training hardly knows."""
    parts = slices["target_training_interactions"]
    return {part: [parts[part]["recall@10"]] if part in parts else [float("nan")] for part in RARE}


def training(folder: Path, name: str) -> float:
    """Seconds that a stage ran, on its processor or on the clock."""
    run = read(folder / name / "gti.json")["run"]
    return float(run.get("train_seconds", run["seconds"]))


def table(lines: Sequence[Measured]) -> str:
    """Write the table: each method, and its paired difference to the best single baseline."""
    best = max((line for line in lines if line.name in BASELINES), key=lambda line: line.values["ndcg@10"].mean())
    head = ["method", "seeds", "R@10", "R@20", "N@10", f"R@10 - {best.name}", f"N@10 - {best.name}"]
    head += [f"R@10, target trained on {words}" for words in RARE.values()] + ["training s"]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        gaps = differences(line.by_user(), best.by_user(), line.users)
        rows.append(
            [line.name, str(len(line.values["recall@10"]))]
            + [figure(line.values[metric].mean(1)) for metric in METRICS]
            + [gap(gaps[metric], best.values[metric].mean()) if line is not best else "–" for metric in METRICS[::2]]
            + [figure(line.slices[part]) for part in RARE]
            + [f"{np.mean(line.seconds):,.0f}" if line.seconds else ""]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def figure(values: Sequence[float] | Floats) -> str:
    """A mean, and the standard deviation over seeds where there are several."""
    mean = f"{np.mean(values):.4f}".removeprefix("0")
    return mean if len(values) < 2 else f"{mean} ±{np.std(values, ddof=1):.4f}".replace("±0", "±")


def gap(found: Any, base: float) -> str:
    """A paired difference with its interval, and as a share of the baseline's figure."""
    return f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}] ({found.difference / base:+.0%})"


def draw(lines: Sequence[Measured], path: Path) -> None:
    """Draw Recall@10 and NDCG@10 of every method with 95 % intervals over users."""
    from matplotlib.figure import Figure

    with style():
        page = Figure(figsize=(10, 0.9 + 0.42 * len(lines)), layout="constrained")
        for axis, metric, title in zip(
            page.subplots(1, 2, sharey=True), METRICS[::2], ("Recall@10", "NDCG@10"), strict=True
        ):
            for place, line in enumerate(reversed(lines)):
                values = line.by_user()
                low, high = intervals(values, line.users)[metric]
                mean = float(values[metric].mean())
                known = line.name in BASELINES or line.name in {SHOWN[name] for name in WITHOUT_LM}
                colour = "#777777" if known else COLOURS[1] if line.name.startswith("blend") else COLOURS[0]
                axis.plot([low, high], [place, place], color=colour, linewidth=2.2)
                axis.plot([mean], [place], marker="s" if known else "o", markersize=7, color=colour)
                axis.annotate(
                    f"{mean:.4f}".removeprefix("0"), (high, place), (6, -3.5), textcoords="offset points", size=9
                )
            axis.set(title=title, yticks=range(len(lines)), yticklabels=[line.name for line in reversed(lines)])
            axis.grid(axis="x", color=PRETRAINED, linewidth=0.5)
            axis.margins(x=0.22)
        page.supxlabel("bars: 95 % bootstrap interval over users; grey: without a language model", fontsize=9)
        page.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """Print the table, and write it and the picture."""
    lines = collect(folder)
    text = table(lines)
    (folder / "report.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    draw(lines, folder / "recommenders.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
