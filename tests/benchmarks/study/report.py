"""Print the tables and draw the pictures of a study, finished or not: python report.py FOLDER [FOLDER ...]

Prints Markdown and writes it to the first FOLDER's report.md, with curves.png and spectra.png beside it. Several
folders of one study (methods or seeds divided over copies) count as one. Each line of a table gives its number of
seeds. Differences are to `mean` with its rows' rate tuned, to `mean-plain` (one rate) at the same budget of
fine-tuning, and to `mean-more` (grounding's time spent on fine-tuning), with a bootstrap over users and seeds together.
Training seconds are processor time on a CPU.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pictures import curves, spectra
from runs import Cells, Floats, begin, collect, training_seconds

HEAD = ("recall@10", "recall@20", "ndcg@10")
DRAWS = 2000


def difference(one: Floats, other: Floats, seed: int = 0) -> tuple[float, float, float]:
    """Compute the mean of ``one - other``, both (seeds, users), and its 95 % interval over users and seeds.

    Users are drawn once for both sides, since they are the same people. Seeds are drawn for each side separately.
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


def ordered(cells: Cells, budget: str) -> list[str]:
    """Return the methods of a budget, the best first."""
    return sorted((m for b, m in cells if b == budget), key=lambda m: -cells[(budget, m)].of("recall@10").mean())


def epochs(budget: str) -> str:
    """Write a budget in words."""
    return "1 epoch" if budget == "1" else f"{budget} epochs"


def markdown(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table below a heading."""
    lines = [f"### {title}\n", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def main_table(cells: Cells, folders: Sequence[Path], budget: str) -> str:
    """Write the table of all methods at one budget: accuracy, time, differences."""
    head = ["method", "seeds", "rows' rate", "steps", "training s", "R@10", "R@20", "N@10"]
    controls = {"mean": "mean, rate tuned", "mean-plain": "mean, one rate", "mean-more": "mean, as long as GTI"}
    head += [f"R@10 - {words}" for words in controls.values()]
    rows = []
    for method in ordered(cells, budget):
        cell = cells[(budget, method)]
        rate, steps = rows_rate(cell.manifests[0]), cell.manifests[0]["counts"]["steps"]
        rows.append(
            [method, str(len(cell.metrics)), f"{rate:.2g}", str(steps)]
            + [f"{training_seconds(cell, folders, method):,.0f}"]
            + [spread([row.mean() for row in cell.of(metric)]) for metric in HEAD]
            + [against(cells, budget, method, other) for other in controls]
        )
    return markdown(f"{epochs(budget)} of fine-tuning", head, rows)


def rows_rate(manifest: dict[str, Any]) -> float:
    """Return the peak learning rate of the new rows, as it was given or as `gti finetune` computed it."""
    given = manifest["options"]["rows_learning_rate"]
    return float(manifest["metrics"]["rows_learning_rate"] if given == "auto" else given)


def why_table(cells: Cells, folders: Sequence[Path], budget: str) -> str:
    """Write the table of the rows' geometry, the slices and the language of the same runs."""
    head = [
        "method",
        "eff. rank start -> end",
        "RSA rho start -> end",
        "R@10 of items never trained on",
        "1-4",
        "5 and more",
    ]
    head += ["nats a token, ordinary text: start -> end", "item texts"]
    rows = []
    for method in ordered(cells, budget):
        cell, start = cells[(budget, method)], begin(folders, method)
        row = [method]
        for name in ("effective_rank", "rsa_spearman"):
            row.append(figure(start.get(name)) + " -> " + spread([g.get(name) for g in cell.geometry]))
        row += [spread([sliced(m, wanted) for m in cell.metrics]) for wanted in ("0", "1-4", "5+")]
        for name in ("ordinary_nats", "items_nats"):
            row.append(figure(start.get(name)) + " -> " + spread([one[name] for one in cell.language]))
        rows.append(row)
    return markdown(f"Why, {epochs(budget)}", head, rows)


def sliced(metrics: dict[str, Any], wanted: str) -> float | None:
    """Return Recall@10 of a slice of targets by training interactions; ``5+`` joins the higher slices."""
    slices = metrics["slices"]["target_training_interactions"]
    names = [n for n in slices if n not in ("0", "1-4")] if wanted == "5+" else [n for n in slices if n == wanted]
    users = sum(slices[n]["targets"] for n in names)
    return sum(slices[n]["recall@10"] * slices[n]["targets"] for n in names) / users if users else None


def all_cut_offs(cells: Cells, budget: str) -> str:
    """Write the table of Recall and NDCG at every cut-off that was evaluated."""
    metrics = sorted(next(iter(cells.values())).scores, key=lambda m: (m.split("@")[0], int(m.split("@")[1])))
    metrics = [m for m in metrics if all(m in cells[(budget, method)].scores for method in ordered(cells, budget))]
    rows = [
        [method, *(spread([row.mean() for row in cells[(budget, method)].of(m)]) for m in metrics)]
        for method in ordered(cells, budget)
    ]
    return markdown(f"Every cut-off, {epochs(budget)}", ["method", *metrics], rows)


def prediction(cells: Cells, folders: Sequence[Path], budget: str) -> str:
    """Correlate figures of the start with recall at the end, over the methods that differ in their start alone."""
    methods = [m for m in ordered(cells, budget) if m not in ("mean-plain", "mean-more", "lc-rec", "gti-lc-rec")]
    lines = []
    for name in ("effective_rank", "stable_rank", "mean_cosine", "rsa_spearman", "rsa_pearson", "items_nats"):
        pairs = [(begin(folders, m).get(name), cells[(budget, m)].of("recall@10").mean()) for m in methods]
        known = [(float(x), y) for x, y in pairs if x is not None and np.isfinite(x)]
        if len(known) > 3:
            rho, p = rank_correlation(*zip(*known, strict=True))
            lines.append(f"- {name}: rho {rho:+.2f} (p {p:.2f}, {len(known)} starts)")
    lines = lines or ["Too few starts: it takes four."]
    return f"### Figures of the start against Recall@10 at the end, {epochs(budget)}\n\n" + "\n".join(lines) + "\n"


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Compute Spearman's rho and its two-sided p-value by permutation.

    Up to 7 values all orders are tried, beyond that 5,000 drawn ones: the asymptotic p-value is wrong for so few
    values.
    """
    from scipy.stats import permutation_test, spearmanr

    def rho(x: Floats) -> float:
        return float(spearmanr(x, other).statistic)

    found = permutation_test((np.asarray(one),), rho, permutation_type="pairings", n_resamples=5040)
    return float(found.statistic), float(found.pvalue)


def against(cells: Cells, budget: str, method: str, other: str) -> str:
    """Write a cell of the table: the difference in Recall@10 with its interval."""
    if method == other or (budget, other) not in cells:
        return "–"
    found, low, high = difference(cells[(budget, method)].of("recall@10"), cells[(budget, other)].of("recall@10"))
    return f"{found:+.4f} [{low:+.4f}, {high:+.4f}]"


def figure(value: Any) -> str:
    """Write a number, or a dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.4g}"


def spread(values: Sequence[Any]) -> str:
    """Write the mean over seeds, with the standard deviation where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{np.mean(known):.4f}" + (f" ±{np.std(known, ddof=1):.4f}" if len(known) > 1 else "")


def baselines(cells: Cells) -> str:
    """Write the figures of the baselines."""
    found: dict[str, dict[str, float]] = {}
    for cell in cells.values():
        for metrics in cell.metrics:
            found |= metrics["baselines"]
    return "\n".join(
        f"- {name}: " + ", ".join(f"{metric} {scores[metric]:.4f}" for metric in HEAD) for name, scores in found.items()
    )


def main(folders: Sequence[Path]) -> None:
    """Write the report and the pictures, and print the report."""
    cells = collect(folders)
    if not cells:
        raise SystemExit(f"{folders[0]}: no finished run yet")
    budgets = sorted({budget for budget, _ in cells}, key=float)
    parts = [main_table(cells, folders, budget) for budget in budgets] + [baselines(cells) + "\n"]
    for budget in budgets:
        parts += [why_table(cells, folders, budget), all_cut_offs(cells, budget), prediction(cells, folders, budget)]
    text = "\n".join(parts)
    (folders[0] / "report.md").write_text(text, "utf-8")
    curves(cells, folders, folders[0] / "curves.png")
    spectra(folders, folders[0] / "spectra.png")
    print(text)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
