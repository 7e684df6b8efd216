"""The tables and pictures of a finished (or half finished) study: python report.py FOLDER

Prints Markdown and writes it to FOLDER/report.md, with FOLDER/curves.png and FOLDER/spectra.png beside it. Each line of
a table says how many seeds it stands on; a difference is to `mean` with its rows' rate tuned, and to `mean-plain` (one
rate), at the same budget of fine-tuning, with a bootstrap over users and seeds together.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from best import read, seconds

Floats = npt.NDArray[np.float64]
METRICS = ("recall@10", "recall@20", "ndcg@10")
DRAWS = 2000


@dataclass
class Cell:
    """The runs of one method and budget, a seed each.

    Attributes:
        scores: metric -> (seeds, users). metrics, manifests, geometry: what the stages wrote, a seed each.
    """

    scores: dict[str, list[Floats]] = field(default_factory=lambda: defaultdict(list))
    metrics: list[dict[str, Any]] = field(default_factory=list)
    manifests: list[dict[str, Any]] = field(default_factory=list)
    geometry: list[dict[str, Any]] = field(default_factory=list)

    def of(self, metric: str) -> Floats:
        """(seeds, users)."""
        return np.stack(self.scores[metric])


def collect(folder: Path) -> dict[tuple[str, str], Cell]:
    """(budget, method) -> its runs."""
    cells: dict[tuple[str, str], Cell] = defaultdict(Cell)
    for path in sorted((folder / "runs").glob("*.json")):
        named = re.fullmatch(r"(.+)-e([\d.]+)-s(\d+)", path.stem)
        if named is None or not (folder / "evaluation" / path.stem / "per_user.parquet").is_file():
            continue
        cell = cells[(named[2], named[1])]
        table = pq.read_table(folder / "evaluation" / path.stem / "per_user.parquet")
        for metric in METRICS:
            cell.scores[metric].append(table[metric].to_numpy())
        cell.metrics.append(read(folder / "evaluation" / path.stem / "metrics.json"))
        cell.manifests.append(read(path))
        cell.geometry.append(next(iter(read(folder / "diagnostics" / path.stem / "metrics.json").values())))
    return cells


def difference(one: Floats, other: Floats, seed: int = 0) -> tuple[float, float, float]:
    """Mean of ``one - other``, both (seeds, users), and its 95 % interval over users and seeds.

    Users are drawn once for both (they are the same people), seeds for each by themselves (they share nothing).
    """
    rng = np.random.default_rng(seed)
    users = one.shape[1]
    drawn = np.empty(DRAWS)
    for draw in range(DRAWS):
        weights = np.bincount(rng.integers(0, users, users), minlength=users) / users
        mine = one[rng.integers(0, len(one), len(one))].mean(0)
        theirs = other[rng.integers(0, len(other), len(other))].mean(0)
        drawn[draw] = (mine - theirs) @ weights
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(one.mean() - other.mean()), float(low), float(high)


def table(cells: dict[tuple[str, str], Cell], folder: Path, budget: str) -> str:
    """One Markdown table: all methods at one budget."""
    lines = [
        f"### {budget} epochs of fine-tuning\n",
        "| method | seeds | training s | R@10 | R@20 | N@10 | R@10, items of 1-4 | eff. rank start -> end | RSA rho |"
        " minus mean, rows' rate tuned | minus mean, one rate |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    ordered = sorted((m for b, m in cells if b == budget), key=lambda m: -cells[(budget, m)].of("recall@10").mean())
    for method in ordered:
        cell = cells[(budget, method)]
        start = begin(folder, method)
        took = np.mean([seconds(m) for m in cell.manifests]) + grounding_seconds(folder, method)
        rare = [m["slices"]["target_training_interactions"].get("1-4", {}).get("recall@10") for m in cell.metrics]
        rank = np.mean([g["effective_rank"] for g in cell.geometry])
        rho = [g.get("rsa_spearman") for g in cell.geometry]
        lines.append(
            f"| {method} | {len(cell.metrics)} | {took:,.0f} | "
            + " | ".join(spread([row.mean() for row in cell.of(metric)]) for metric in METRICS)
            + f" | {spread(rare)} | {start.get('effective_rank', float('nan')):.1f} -> {rank:.1f} | {spread(rho)} | "
            + " | ".join(against(cells, budget, method, other) for other in ("mean", "mean-plain"))
            + " |"
        )
    return "\n".join(lines) + "\n"


def against(cells: dict[tuple[str, str], Cell], budget: str, method: str, other: str) -> str:
    """A cell of the table: difference in Recall@10 with its interval."""
    if method == other or (budget, other) not in cells:
        return "–"
    found, low, high = difference(cells[(budget, method)].of("recall@10"), cells[(budget, other)].of("recall@10"))
    return f"{found:+.4f} [{low:+.4f}, {high:+.4f}]"


def spread(values: list[Any]) -> str:
    """Mean over seeds, and their standard deviation where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{np.mean(known):.4f}" + (f" ±{np.std(known, ddof=1):.4f}" if len(known) > 1 else "")


def begin(folder: Path, method: str) -> dict[str, Any]:
    """The geometry of a method's start."""
    name = "start-" + ("mean" if method in ("mean-plain", "mean-more") else method)
    path = folder / "diagnostics" / name / "metrics.json"
    return dict(next(iter(read(path).values()))) if path.is_file() else {}


def grounding_seconds(folder: Path, method: str) -> float:
    """What grounding took, for the methods that have it."""
    return seconds(read(folder / f"start-{method}" / "gti.json")) if method.startswith("gti") else 0.0


def curves(cells: dict[tuple[str, str], Cell], folder: Path) -> None:
    """Recall@10 against training time, grounding's own counted."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    styles = [(c, s, m) for s, m in (("-", "o"), ("--", "s"), (":", "^")) for c in ("C0", "C1", "C2", "C3", "C4")]
    for (colour, line, mark), method in zip(styles, sorted({m for _, m in cells}), strict=False):
        points = sorted(
            (
                float(np.mean([seconds(m) for m in cell.manifests]) + grounding_seconds(folder, method)),
                float(cell.of("recall@10").mean()),
            )
            for (_, name), cell in cells.items()
            if name == method
        )
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=line, marker=mark, label=method)
    axes.set(xlabel="training, grounding included (s)", ylabel="Recall@10", title=folder.name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(folder / "curves.png", dpi=150)


def spectra(folder: Path) -> None:
    """Singular values of the new rows at each start."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    styles = [(c, s) for s in ("-", "--", ":") for c in ("C0", "C1", "C2", "C3", "C4")]
    paths = sorted((folder / "diagnostics").glob("start-*/spectrum.parquet"))
    for (colour, line), path in zip(styles, paths, strict=False):
        found = pq.read_table(path, filters=[("rows", "=", "new"), ("matrix", "=", "input")])
        values = found["singular_value"].to_numpy()
        label = path.parent.name.removeprefix("start-")
        axes.plot(values / values[0], color=colour, linestyle=line, label=label)
    axes.set(yscale="log", ylim=(1e-4, 1.2), xlabel="index", ylabel="singular value / largest", title=folder.name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(folder / "spectra.png", dpi=150)


def baselines(cells: dict[tuple[str, str], Cell]) -> str:
    """What needs no language model."""
    found = next(iter(cells.values())).metrics[0]["baselines"]
    return "\n".join(
        f"- {name}: " + ", ".join(f"{metric} {scores[metric]:.4f}" for metric in METRICS)
        for name, scores in found.items()
    )


def main(folder: Path) -> None:
    """Print and write everything."""
    cells = collect(folder)
    if not cells:
        raise SystemExit(f"{folder}: no finished run yet")
    budgets = sorted({budget for budget, _ in cells}, key=float)
    text = "\n".join([table(cells, folder, budget) for budget in budgets]) + "\n" + baselines(cells) + "\n"
    (folder / "report.md").write_text(text, "utf-8")
    curves(cells, folder)
    spectra(folder)
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
