"""Do the verdicts of `gti diagnose` follow accuracy? Every start, grounded starts, and each after the same fine-tuning.

    python verdicts.py DATA MODEL FOLDER [--levels 3] [--codes 64] [--ground-steps 90] [--steps 80] [--sample 1000]

DATA holds items.parquet and interactions.parquet. FOLDER is a workspace; a second run keeps finished stages. One row is
`mean` with the new rows at the model's rate, where they stay near one point. Prints the table as markdown, and writes
its figures to FOLDER/verdicts.json. With --table, only what is finished is diagnosed; nothing is trained.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

import gti_cli as gti

STARTS = ("mean", "text-lstsq", "random", "text", "codebook", "noisy-mean", "text-permuted", "hf-mean")
GROUNDED = ("mean", "text-lstsq", "random")  # starts that are grounded as well
RATE = 5e-4  # of the pretrained weights in fine-tuning, the default of `gti finetune`
METRIC = "recall@10"


@dataclass(frozen=True)
class Run:
    """A checkpoint before and after fine-tuning.

    Attributes:
        name: Of the row in the table.
        start: Name of the checkpoint before.
        tuned: Name of the checkpoint after.
        rows_rate: Peak learning rate of the new rows. None: the default.
    """

    name: str
    start: str
    tuned: str
    rows_rate: float | None = None


def runs() -> Iterator[Run]:
    """Every start, grounded starts, and the mean with rows at the model's rate."""
    for name in STARTS:
        yield Run(name, f"start-{name}", f"tuned-{name}")
        if name in GROUNDED:
            yield Run(f"{name}, grounded", f"grounded-{name}", f"tuned-grounded-{name}")
    yield Run("mean, rows at the model's rate", "start-mean", "tuned-mean-model-rate", RATE)


def train(data: Path, model: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Make all checkpoints and evaluate those that were fine-tuned; what is finished is kept."""
    interactions = data / "interactions.parquet"
    gti.build_ids(data / "items.parquet", folder, levels=arguments.levels, codes=arguments.codes, device="cpu")
    for run in runs():
        if not (folder / run.start).is_dir():
            kind, _, name = run.start.partition("-")
            if kind == "start":
                gti.extend(model, folder, init=name, name=run.start, measure_effect=False, device="cpu")
            else:
                steps = arguments.ground_steps
                quick = {"max_steps": steps, "eval_every": steps, "held_out_sample": 100, "retrieval_sample": 0}
                gti.ground(folder, from_=f"start-{name}", name=run.start, device="cpu", **quick)
        options = {"max_steps": arguments.steps, "validations": 0, "valid_sample": 100, "learning_rate": RATE}
        gti.finetune(
            interactions,
            folder,
            from_=run.start,
            name=run.tuned,
            rows_learning_rate=run.rows_rate,
            device="cpu",
            **options,
        )
        gti.evaluate(
            interactions,
            folder,
            checkpoint=run.tuned,
            k=(10,),
            sample=arguments.sample,
            baselines=("popularity",),
            device="cpu",
        )


def diagnosed(folder: Path) -> list[dict[str, Any]]:
    """Diagnose all runs that are finished, and collect the figures before and after fine-tuning with the accuracy."""
    finished = [run for run in runs() if (folder / "evaluation" / run.tuned).is_dir()]
    names = list(dict.fromkeys(name for run in finished for name in (run.start, run.tuned)))
    metrics = gti.diagnose(names, folder, name="verdicts", force=True).metrics
    rows = []
    for run in finished:
        accuracy = gti.Workspace(folder).require(f"evaluation/{run.tuned}", "gti evaluate").metrics
        rows.append(
            {
                "name": run.name,
                "before": metrics[run.start],
                "after": metrics[run.tuned],
                METRIC: accuracy["metrics"][METRIC],
                "interval": accuracy["intervals"][METRIC],
                "popularity": accuracy["baselines"]["popularity"][METRIC],
            }
        )
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a row of each run, the best first, then the accuracy of each grade and how figures go with accuracy."""
    print("| start | verdict | RSA, p | words (chance) | after | RSA, p | words (chance) | Recall@10 |")
    print("|---|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: -row[METRIC]):
        sides = [f"`{side['verdict']}` | {_rsa(side)} | {_words(side)}" for side in (row["before"], row["after"])]
        print(f"| {row['name']} | {' | '.join(sides)} | {row[METRIC]:.3f} |")
    print(f"\npopularity: {rows[0]['popularity']:.4f}\n")
    for when in ("before", "after"):
        for grade in dict.fromkeys(row[when]["verdict"] for row in rows):
            recalls = [row[METRIC] for row in rows if row[when]["verdict"] == grade]
            print(f"{grade}, {when}: {len(recalls)} runs, {min(recalls):.4f} to {max(recalls):.4f}")
        for figure in ("effective_rank", "mean_cosine", "deciding_rsa_r", "rsa_pearson", "word_agreement"):
            # A row of equal rows has no RSA; it follows the codebooks less than any other.
            values = [-1.0 if row[when][figure] is None else row[when][figure] for row in rows]
            rho = spearmanr(values, [row[METRIC] for row in rows]).statistic
            print(f"{figure}, {when}: Spearman's rho with {METRIC} {rho:.2f}")


def _rsa(figures: dict[str, Any]) -> str:
    r, p = figures["deciding_rsa_r"], figures["deciding_rsa_p"]
    return "–" if r is None else f"{r:.2f}, {p:.3f}"


def _words(figures: dict[str, Any]) -> str:
    return f"{figures['word_agreement']:.2f} ({figures['word_agreement_chance']:.2f})"


def main() -> None:
    """Train, diagnose, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    for name, default in (("levels", 3), ("codes", 64), ("ground-steps", 90), ("steps", 80), ("sample", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table:
        train(arguments.data, arguments.model, arguments.folder, arguments)
    rows = diagnosed(arguments.folder)
    (arguments.folder / "verdicts.json").write_text(json.dumps(rows, indent=2), "utf-8")
    print_table(rows)


if __name__ == "__main__":
    main()
