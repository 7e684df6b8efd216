"""Pictures of a study: recall against training time, all methods at one budget, the spectra of the starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from runs import Cells, training_seconds


def pens() -> list[dict[str, Any]]:
    """Make line styles that differ in colour, dashes and marks; thin lines lie on broad ones, so that both are seen."""
    dashes, marks, widths = ("-", "--", ":"), ("o", "s", "^", "D"), (1.3, 3.0)
    return [
        {
            "color": f"C{number % 10}",
            "linestyle": dashes[number % 3],
            "marker": marks[number % 4],
            "linewidth": widths[number % 2],
            "zorder": 3 - number % 2,
        }
        for number in range(20)
    ]


def curves(cells: Cells, folders: Sequence[Path], path: Path) -> None:
    """Draw Recall@10 against training time on the left, and all methods at one budget on the right.

    On the left are methods with several budgets, and grounded starts. The budget on the right is the one that most
    methods have. `mean-more` is a longer run of `mean`, so both are one line.
    """
    from matplotlib.figure import Figure

    page = Figure(figsize=(11, 4.5), layout="constrained")
    times, methods = page.subplots(1, 2, width_ratios=(3, 2))
    over_time(times, cells, folders)
    budgets = [budget for budget, _ in cells]
    side_by_side(methods, cells, max(sorted(set(budgets), key=float), key=budgets.count))
    page.suptitle(folders[0].name)
    page.savefig(path, dpi=130)


def over_time(axes: Any, cells: Cells, folders: Sequence[Path]) -> None:
    """Draw a line for each method with several budgets, a point for other grounded ones, and a level for item-knn."""
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for (_, method), cell in cells.items():
        found = cell.of("recall@10").mean(1)
        spread = float(found.std(ddof=1)) if len(found) > 1 else 0.0
        point = (training_seconds(cell, folders, method), float(found.mean()), spread)
        lines.setdefault("mean" if method == "mean-more" else method, []).append(point)
    drawn = {m: sorted(points) for m, points in sorted(lines.items()) if len(points) > 1 or m.startswith("gti")}
    for pen, (method, points) in zip(pens(), (drawn or lines).items(), strict=False):
        x, y, errors = zip(*points, strict=True)
        axes.errorbar(x, y, errors, capsize=3, label=method, **pen)
    baseline = next(iter(cells.values())).metrics[0]["baselines"].get("item-knn")
    if baseline:
        axes.axhline(baseline["recall@10"], color="grey", linestyle="-.", label="item-knn, tuned")
    axes.set(xlabel="training, grounding included (s)", ylabel="Recall@10 (bars: sd over seeds)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def side_by_side(axes: Any, cells: Cells, budget: str) -> None:
    """Draw a point for each method, the best on top, with the standard deviation over seeds as its bar."""
    found = {method: cell.of("recall@10").mean(1) for (b, method), cell in cells.items() if b == budget}
    order = sorted(found, key=lambda method: float(found[method].mean()))
    values = [float(found[method].mean()) for method in order]
    errors = [float(found[method].std(ddof=1)) if len(found[method]) > 1 else 0.0 for method in order]
    axes.errorbar(values, range(len(order)), xerr=errors, fmt="o", capsize=3)
    if "mean" in found:
        axes.axvline(float(found["mean"].mean()), color="grey", linestyle=":", label="mean")
        axes.legend(fontsize="small", loc="lower right")
    axes.set(xlabel="Recall@10", title=f"after {budget} {'epoch' if budget == '1' else 'epochs'}", xlim=(0, None))
    axes.set_yticks(range(len(order)), order)
    axes.grid(alpha=0.3)


def spectra(folders: Sequence[Path], path: Path) -> None:
    """Draw the singular values of the new rows at each start."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(8, 5), layout="constrained")
    axes = page.subplots()
    paths = {
        p.parent.name: p
        for folder in folders
        for p in sorted((folder / "diagnostics").glob("start-*/spectrum.parquet"))
    }
    for pen, (name, table) in zip(pens(), sorted(paths.items()), strict=False):
        found = pq.read_table(table, filters=[("rows", "=", "new"), ("matrix", "=", "input")])
        values = found["singular_value"].to_numpy()
        style = {key: value for key, value in pen.items() if key != "marker"}
        axes.plot(values / values[0], label=name.removeprefix("start-"), **style)
    axes.set(yscale="log", ylim=(1e-4, 1.2), xlabel="index", ylabel="singular value / largest", title=folders[0].name)
    axes.grid(alpha=0.3)
    if paths:
        axes.legend(fontsize="small", ncols=2)
    page.savefig(path, dpi=130)
