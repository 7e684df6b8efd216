"""The regression of a grounding run: from its task to fitted rows, figures for the manifest, and a table of all paths.

Called by `train` between the measurements before the training and the gradient steps. Calls `levels.fit_levels`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.grounding.job import GroundingJob, GroundingTask
from gti_cli.grounding.nll.corpus import Corpus
from gti_cli.grounding.nll.measures import PairMeasures
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression.kept_states import BYTES_OF_STATES, StateStore, room
from gti_cli.grounding.regression.levels import fit_levels
from gti_cli.grounding.regression.path import RIDGE_UNSEEN
from gti_cli.grounding.regression.saved_levels import FittedLevel, SavedLevels
from gti_cli.grounding.regression.sources import Source, Spent
from gti_cli.prompts.pair_prompts import TO_TOKENS
from gti_cli.workspace import StageRun, processes

REGRESSION_TABLE = "regression.parquet"  # in the checkpoint's folder; columns as `_paths` makes them


def regress(job: GroundingJob, run: StageRun, task: GroundingTask) -> dict[str, list[Any]]:
    """Fit the new rows, and leave them in the model.

    Args:
        job: The run.
        run: Receives the figures of each level (``regression``), and what it cost in this attempt.
        task: The pairs, with the model.

    Returns:
        The columns of the table of all paths.

    Raises:
        InputError: When the model does to its head's output what no regression here knows.
    """
    trained, measures = task.trained, task.measures
    corpus, pad = task.collator.corpus, task.collator.pad
    assert isinstance(trained, GroundingModel) and isinstance(measures, PairMeasures) and isinstance(corpus, Corpus)
    rule, rows = trained.rule, trained.rows
    if rule is None:
        raise InputError(
            "this model's logits are not those of its output head with a scale or a soft cap, so --solver regression "
            "has no regression to solve",
            where=str(job.checkpoint.path),
            remedy="use --solver gradient",
        )
    _tell(job, measures, untied=rows.output is not None)
    losses = measures.losses
    positions = sum(len(example.answer) for example in corpus.examples) // processes.world()
    # Positions behind the start and behind the fitted rows.
    size = 2 * positions * rows.head.weight.shape[1] * rows.head.weight.element_size()
    device = rows.ids.device
    in_memory = size <= room(BYTES_OF_STATES, device)
    folder = None if in_memory else run.scratch / f"hidden-states-{processes.rank()}"
    store, spent = StateStore(folder, device), Spent()
    train = Source("training pairs", trained, corpus, range(len(corpus.examples)), pad, store, spent)
    held_out = None
    if losses is not None:
        numbers = losses.numbers[TO_TOKENS]
        held_out = Source("held-out pairs", losses.trained, losses.corpus, numbers, pad, store, spent)
    began = time.monotonic()
    fitted = fit_levels(train, held_out, rule, saved=SavedLevels(run.scratch, run.resuming))
    run.metrics["regression"] = [_figures(level) for level in fitted]
    run.measured.update(
        regression_seconds=time.monotonic() - began,
        regression_pass_seconds=spent.pass_seconds,
        regression_solver_seconds=spent.solver_seconds,
        regression_passes=spent.passes,
        hidden_states_kept_in="memory" if in_memory else "files",
    )
    return _paths(fitted)


def _tell(job: GroundingJob, measures: PairMeasures, untied: bool) -> None:
    """Say what is particular to this run."""
    if measures.losses is None:
        console.note(
            "nothing is held out, so no pair can choose how strongly the ridge pulls: its weight is "
            f"{RIDGE_UNSEEN:g} of the typical curvature"
        )
    if not untied:
        return
    says = "the output head has rows of its own: the regression fits these, and"
    if not job.options.any_steps:
        console.warn(f"{says} the input rows stay as they start, for only gradient steps train them (--max-steps)")
    else:
        console.note(f"{says} the gradient steps afterwards train the input rows, too")


def _figures(level: FittedLevel) -> dict[str, Any]:
    """One level for the manifest."""
    start, kept = level.points[0], level.points[level.best]
    return {
        "places": level.places,
        "rows": level.rows,
        "positions": level.positions,
        "held_out_positions": level.held_out_positions,
        "ridge": _finite(kept.ridge),
        "loss_before": start.loss,
        "loss": kept.loss,
        "held_out_loss_before": start.held_out_loss,
        "held_out_loss": kept.held_out_loss,
        "evaluations": sum(point.evaluations for point in level.points),
        "converged": all(point.converged for point in level.points),
    }


def _paths(fitted: Sequence[FittedLevel]) -> dict[str, list[Any]]:
    """Every solution of every level as columns; the start of a path has no ridge."""
    points = [(number, level, point) for number, level in enumerate(fitted) for point in level.points]
    names = ("loss", "held_out_loss", "steps", "evaluations", "gradient", "converged")
    return {
        "regression": [number for number, _, _ in points],
        "first_place": [level.places[0] for _, level, _ in points],
        "last_place": [level.places[-1] for _, level, _ in points],
        "ridge": [_finite(point.ridge) for _, _, point in points],
        **{name: [getattr(point, name) for _, _, point in points] for name in names},
        "kept": [point is level.points[level.best] for _, level, point in points],
    }


def _finite(ridge: float) -> float | None:
    """A ridge's weight; None for the start, whose ridge is infinite."""
    return ridge if math.isfinite(ridge) else None
