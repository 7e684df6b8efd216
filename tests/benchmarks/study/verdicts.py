"""Do the verdicts of `gti diagnose` follow accuracy? Every start, grounded starts, and each after the same fine-tuning.

    python verdicts.py DATA MODEL FOLDER [--levels 3] [--codes 64] [--ground-steps 90] [--steps 80] [--sample 1000]

DATA holds items.parquet and interactions.parquet. FOLDER is a workspace; a second run keeps finished stages. One process,
one thread. `mean-model-rate` is `mean` with the new rows at the model's rate, where they stay near one point. The table is
printed as markdown and written to FOLDER/verdicts.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gti_cli as gti

STARTS = ("mean", "text-lstsq", "random", "text", "codebook", "noisy-mean", "text-permuted", "hf-mean")
GROUNDED = ("mean", "text-lstsq")  # starts that are grounded as well
RATE = 5e-4  # of the pretrained weights in fine-tuning, the default of `gti finetune`
SEEN = "recall@10"


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


def main() -> None:
    """Train, diagnose, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    for name, default in (("levels", 3), ("codes", 64), ("ground-steps", 90), ("steps", 80), ("sample", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    train(arguments.data, arguments.model, arguments.folder, arguments)


if __name__ == "__main__":
    main()
