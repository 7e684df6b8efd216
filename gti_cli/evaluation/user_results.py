"""What an evaluation on users reports and writes, once every user has a list and every target a rank.

`gti_cli.evaluation.evaluate` (a checkpoint) and `gti_cli.evaluation.evaluate_blend` end here, so that both are measured
and written in the same way, beside the same baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.baselines.base import train_counts
from gti_cli.baselines.results import write_baseline_tables
from gti_cli.baselines.run import EMBEDDINGS, Setting, evaluate_baselines
from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.errors import InputError
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.evaluation.recommended_lists import as_array, write_lists
from gti_cli.evaluation.sample import draw_sample
from gti_cli.metrics.intervals import bounds
from gti_cli.metrics.ranking import TargetRanks, averages, list_metrics, per_user
from gti_cli.metrics.slices import slice_means, times_seen, user_slices
from gti_cli.tables import SemanticIDs
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.tables.histories import History, Splits, read_interactions, split
from gti_cli.workspace import StageRun, Workspace, write_json

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EvaluatedUsers:
    """The targets that are evaluated, and the interactions that they come from.

    Attributes:
        splits: The interactions, divided into training, validation and test.
        entries: The targets with their histories.
        not_drawn: Targets that ``--sample`` left out.
    """

    splits: Splits
    entries: Sequence[History]
    not_drawn: int

    @property
    def users(self) -> list[str]:
        """The user of each target."""
        return [entry.user_id for entry in self.entries]


def read_users(
    interactions: Path | str, catalogue: SemanticIDs, options: EvaluateOptions, reading: InteractionOptions, seed: int
) -> EvaluatedUsers:
    """Read a table of interactions, and take the targets that are to be evaluated.

    Raises:
        InputError: When the table cannot be used, or has no target in this part.
    """
    splits = split(read_interactions(interactions, catalogue.row_of(), options=reading))
    entries = splits.test if options.split == "test" else splits.valid
    if not entries:
        raise InputError(f"no user has a {options.split} item", where=str(interactions), remedy="use another --split")
    drawn = draw_sample(entries, lambda entry: entry.user_id, options.sample, seed)
    return EvaluatedUsers(splits, drawn, len(entries) - len(drawn))


@dataclass(frozen=True)
class Surroundings:
    """Where an evaluation happens.

    Attributes:
        space: The workspace.
        catalogue: All items with their semantic IDs.
        options: The options, with the cut-offs sorted.
        seed: Seed of everything random.
        device: Where networks run.
    """

    space: Workspace
    catalogue: SemanticIDs
    options: EvaluateOptions
    seed: int
    device: torch.device


def write_user_results(
    around: Surroundings,
    evaluated: EvaluatedUsers,
    lists: Sequence[RankedItems],
    ranks: TargetRanks,
    run: StageRun,
    folder: Path,
) -> None:
    """Compute all metrics, and write ``metrics.json`` and the tables.

    Args:
        around: Workspace, catalogue and options.
        evaluated: U targets.
        lists: U lists of recommended items.
        ranks: Ranks of the U targets.
        run: The run of the stage. Metrics and counts that it has already are written, too.
        folder: Where to write; made here.
    """
    options, row_of = around.options, around.catalogue.row_of()
    splits, entries, users = evaluated.splits, evaluated.entries, evaluated.users
    values = per_user(ranks, options.ks)
    coverage_and_novelty = list_metrics(as_array(lists, options.ks[-1]), options.ks, train_counts(splits.train, row_of))
    setting = Setting(
        splits,
        options.split,
        entries,
        row_of,
        options.ks,
        options.filter_seen,
        around.seed,
        around.device,
        around.space.path(".gti") / "baselines",
        around.space.path(EMBEDDINGS),
    )
    outcome = evaluate_baselines(options.baselines, setting)
    baselines, slices = outcome.results, user_slices(entries, splits.train)
    run.metrics.update(
        metrics={**averages(values), **coverage_and_novelty},
        baselines={name: baseline.metrics for name, baseline in baselines.items()},
        tuning=outcome.tuning,
        intervals=bounds(values, users),
        baseline_intervals={name: bounds(baseline.values, users) for name, baseline in baselines.items()},
    )
    run.metrics["slices"] = slice_means(values, slices)
    run.metrics["baseline_slices"] = {name: slice_means(one.values, slices) for name, one in baselines.items()}
    run.details["baselines_left_out"] = outcome.left_out
    run.counts.update(
        splits.counts,
        evaluated=len(entries),
        catalogue=len(row_of),
        lists_shorter_than_k=sum(len(items.rows) < options.ks[-1] for items in lists),
        baselines_left_out=len(outcome.left_out),
        targets_in_history=sum(entry.target in entry.items for entry in entries),
    )
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", {**run.metrics, "counts": run.counts})
    write_lists(folder, "user_id", users, lists, around.catalogue.item_ids)
    # One row for each target. A user's several targets differ in the number of items before them.
    keys = {
        "user_id": users,
        "target": [entry.target for entry in entries],
        "history": np.asarray([len(entry.items) for entry in entries], dtype=np.int32),
    }
    seen = times_seen(entries, splits.train)
    rank_columns = {"items_ahead": ranks.ahead, "items_tied": ranks.ties}
    tables.write(folder / "per_user.parquet", {**keys, "target_training_interactions": seen, **rank_columns, **values})
    write_baseline_tables(folder, keys, baselines)
