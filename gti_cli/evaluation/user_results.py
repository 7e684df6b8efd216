"""What an evaluation on users reports and writes, once every user has a list and every target a rank.

`gti_cli.evaluation.evaluate` (a checkpoint) and `gti_cli.evaluation.evaluate_blend` end here, so that both are measured
and written in the same way, beside the same baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.baselines.base import EMBEDDINGS, train_counts
from gti_cli.baselines.results import BaselineResult, write_baseline_tables
from gti_cli.baselines.run import BaselinesOutcome, Setting, evaluate_baselines
from gti_cli.decoding.ranked_items import ItemLists
from gti_cli.errors import InputError
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.evaluation.recommended_lists import as_strings, write_lists
from gti_cli.evaluation.sample import draw_sample
from gti_cli.metrics.intervals import bounds
from gti_cli.metrics.ranking import TargetRanks, averages, list_metrics, per_user
from gti_cli.metrics.slices import slice_means, times_seen, user_slices
from gti_cli.tables import SemanticIDs
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.targets import Targets, with_targets
from gti_cli.tables.cold_start.cold_splits import describe_taken_out, split_by_items
from gti_cli.tables.cold_start.held_out_items import HeldOutItems
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.tables.histories import History, Interactions, Splits, read_interactions, split
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
        others: Where items are held out, targets with other items: their figures stand beside those of ``entries``.
        cold_valid: See `gti_cli.baselines.run.Setting`.
        hidden: See `gti_cli.baselines.run.Setting`.
        held_out_counts: What the held-out items have taken out of training.
    """

    splits: Splits
    entries: Sequence[History]
    not_drawn: int
    others: Sequence[History] = ()
    cold_valid: Sequence[History] = ()
    hidden: frozenset[str] = frozenset()
    held_out_counts: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def targets(self) -> Targets:
        """``entries`` as arrays."""
        return Targets.of(self.entries)

    @cached_property
    def users(self) -> Names:
        """The user of each target."""
        return self.targets.users

    @cached_property
    def ranked(self) -> Targets:
        """All targets that are ranked: ``entries``, then ``others``."""
        return Targets.joined(self.entries, self.others)


def read_users(
    interactions: Path | str,
    catalogue: SemanticIDs,
    options: EvaluateOptions,
    reading: InteractionOptions,
    seed: int,
    held: HeldOutItems | None = None,
) -> EvaluatedUsers:
    """Read a table of interactions, and take the targets that are to be evaluated.

    Args:
        interactions: The table.
        catalogue: All items with their semantic IDs.
        options: The part that is evaluated, and how many of its targets.
        reading: How the table is read.
        seed: Seed of the sample.
        held: Items that no method has learned about. Targets with the ``test`` items among them are evaluated, and
            those with no held-out item stand beside them. A sample is drawn of each group. None: all targets alike.

    Raises:
        InputError: When the table cannot be used, or has no target in this part.
    """
    table = read_interactions(interactions, catalogue.row_of(), options=reading)
    if held is not None:
        return _read_cold_users(table, options, seed, held)
    splits = split(table)
    entries = splits.test if options.split == "test" else splits.valid
    if not entries:
        raise InputError(f"no user has a {options.split} item", where=str(interactions), remedy="use another --split")
    drawn = draw_sample(entries, lambda entry: entry.user_id, options.sample, seed)
    return EvaluatedUsers(splits, drawn, len(entries) - len(drawn))


def _read_cold_users(table: Interactions, options: EvaluateOptions, seed: int, held: HeldOutItems) -> EvaluatedUsers:
    """Divide a table by items, and take the targets: held-out items in ``entries``, all others in ``others``."""
    divided = split_by_items(table, held)
    everything = divided.known.test if options.split == "test" else divided.all_valid
    entries = with_targets(everything, held.test)
    others = with_targets(everything, held.all, among=False)
    if not entries:
        raise InputError(
            f"no {options.split} target is one of the {len(held.test):,} items that the checkpoint holds out",
            where=table.path,
            remedy="give the table that finetune read",
        )
    console.note(describe_taken_out(divided.counts))
    groups = [draw_sample(group, lambda entry: entry.user_id, options.sample, seed) for group in (entries, others)]
    return EvaluatedUsers(
        divided.known,
        groups[0],
        len(entries) - len(groups[0]),
        groups[1],
        divided.cold_valid,
        held.all,
        divided.counts,
    )


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
    lists: ItemLists,
    ranks: TargetRanks,
    run: StageRun,
    folder: Path,
) -> None:
    """Compute all metrics, and write ``metrics.json`` and the tables.

    Args:
        around: Workspace, catalogue and options.
        evaluated: The targets.
        lists: A list of recommended items for each of `EvaluatedUsers.ranked`.
        ranks: The ranks of these targets.
        run: The run of the stage. Metrics and counts that it has already are written, too.
        folder: Where to write; made here.
    """
    options, row_of, count = around.options, around.catalogue.row_of(), len(evaluated.entries)
    ranks, other_ranks = divide_ranks(ranks, count)
    lists, values = lists[:count], per_user(ranks, options.ks)
    counted = train_counts(evaluated.splits.train, row_of)
    coverage_and_novelty = list_metrics(lists.table(options.ks[-1]), options.ks, counted)
    outcome = evaluate_baselines(options.baselines, _setting(around, evaluated))
    _add_metrics(run, evaluated, values, coverage_and_novelty, outcome)
    if evaluated.others:
        others = Targets.of(evaluated.others).users
        run.metrics["other_targets"] = _other_figures(per_user(other_ranks, options.ks), outcome.others, others)
    slices = user_slices(evaluated.targets, evaluated.splits.train)
    run.metrics["slices"] = slice_means(values, slices)
    run.metrics["baseline_slices"] = {name: slice_means(one.values, slices) for name, one in outcome.results.items()}
    run.details["baselines_left_out"] = outcome.left_out
    run.counts.update(
        evaluated.splits.counts,
        **evaluated.held_out_counts,
        **({"other_targets": len(evaluated.others)} if evaluated.hidden else {}),
        evaluated=count,
        catalogue=len(row_of),
        lists_shorter_than_k=int((lists.lengths < options.ks[-1]).sum()),
        baselines_left_out=len(outcome.left_out),
        targets_in_history=int(evaluated.targets.are_repeats().sum()),
    )
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", {**run.metrics, "counts": run.counts})
    write_lists(folder, "user_id", evaluated.users, lists, around.catalogue.item_ids)
    _write_tables(folder, evaluated, ranks, values, outcome.results)


def _setting(around: Surroundings, evaluated: EvaluatedUsers) -> Setting:
    """What baselines are evaluated on."""
    return Setting(
        evaluated.splits,
        around.options.split,
        evaluated.entries,
        around.catalogue.row_of(),
        around.options.ks,
        around.options.filter_seen,
        around.seed,
        around.device,
        around.space.path(".gti") / "baselines",
        around.space.path(EMBEDDINGS),
        evaluated.others,
        evaluated.cold_valid,
        evaluated.hidden,
    )


def _add_metrics(
    run: StageRun,
    evaluated: EvaluatedUsers,
    values: dict[str, Floats],
    coverage_and_novelty: dict[str, float],
    outcome: BaselinesOutcome,
) -> None:
    """Add means and intervals of the method and of the baselines."""
    users, baselines = evaluated.users, outcome.results
    run.metrics.update(
        metrics={**averages(values), **coverage_and_novelty},
        baselines={name: baseline.metrics for name, baseline in baselines.items()},
        tuning=outcome.tuning,
        intervals=bounds(values, users),
        baseline_intervals={name: bounds(baseline.values, users) for name, baseline in baselines.items()},
    )


def _write_tables(
    folder: Path,
    evaluated: EvaluatedUsers,
    ranks: TargetRanks,
    values: dict[str, Floats],
    baselines: Mapping[str, BaselineResult],
) -> None:
    """Write the values of each target, of the method and of the baselines."""
    targets = evaluated.targets
    # One row for each target. A user's several targets differ in the number of items before them.
    keys = {
        "user_id": as_strings(evaluated.users),
        "target": as_strings(targets.item_ids),
        "history": targets.lengths.astype(np.int32),
    }
    seen = times_seen(targets, evaluated.splits.train)
    rank_columns = {"items_ahead": ranks.ahead, "items_tied": ranks.ties}
    tables.write(folder / "per_user.parquet", {**keys, "target_training_interactions": seen, **rank_columns, **values})
    write_baseline_tables(folder, keys, baselines)


def divide_ranks(ranks: TargetRanks, first: int) -> tuple[TargetRanks, TargetRanks]:
    """The ranks of the first targets, and those of the others."""
    return (
        TargetRanks(ranks.ahead[:first], ranks.ties[:first]),
        TargetRanks(ranks.ahead[first:], ranks.ties[first:]),
    )


def _other_figures(
    values: dict[str, Floats], baselines: Mapping[str, BaselineResult], users: Sequence[str]
) -> dict[str, Any]:
    """Means and intervals on the targets that are not held out, of the method and of the baselines."""
    return {
        "metrics": averages(values),
        "intervals": bounds(values, users),
        "baselines": {name: averages(one.values) for name, one in baselines.items()},
        "baseline_intervals": {name: bounds(one.values, users) for name, one in baselines.items()},
    }
