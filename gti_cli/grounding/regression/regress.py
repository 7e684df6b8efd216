"""The regression of a grounding run: from its task to fitted rows, and figures for the manifest.

Called by `train` between the measurements before the training and the gradient steps. Calls `levels.fit_levels`, then
`endings.shift_endings`.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import cast

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.grounding.job import GroundingJob, GroundingTask
from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.measures import PairMeasures
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression.endings import RATE_SHARE, shift_endings
from gti_cli.grounding.regression.kept_states import BYTES_OF_STATES, StateStore, room
from gti_cli.grounding.regression.levels import STRENGTHS_UNSEEN, fit_levels
from gti_cli.grounding.regression.saved_levels import SavedLevels
from gti_cli.grounding.regression.sources import Source, Spent
from gti_cli.prompts.pair_prompts import TO_TOKENS
from gti_cli.workspace import StageRun, processes


def regress(job: GroundingJob, run: StageRun, task: GroundingTask) -> None:
    """Fit the new rows, and leave them in the model.

    Args:
        job: The run.
        run: Receives the figures of each level (``regression``), and what the regression cost in this attempt.
        task: The pairs, with the model.

    Raises:
        InputError: When the model does to its head's output what no regression here knows.
    """
    trained, measures = task.trained, task.measures
    collator = task.collator
    assert isinstance(trained, GroundingModel) and isinstance(measures, PairMeasures) and isinstance(collator, Collator)
    corpus, pad = collator.corpus, collator.pad
    rule, rows, losses = trained.rule, trained.rows, measures.losses
    if rule is None:
        raise InputError(
            "this model's logits are not those of its output head with a scale or a soft cap, so --solver regression "
            "has no regression to solve",
            where=str(job.checkpoint.path),
            remedy="use --solver gradient",
        )
    _tell(job, measures, untied=rows.output is not None)
    device, head = rows.ids.device, rows.head.weight
    positions = sum(len(example.answer) for example in corpus.examples) // processes.world()
    in_memory = positions * head.shape[1] * head.element_size() <= room(BYTES_OF_STATES, device)
    folder = None if in_memory else run.scratch / f"hidden-states-{processes.rank()}-of-{processes.world()}"
    spent = Spent()
    store, store_of_few = StateStore(folder, device), StateStore(None, device)
    train = Source("training pairs", trained, corpus, range(len(corpus.examples)), pad, store, spent)
    held_out = None
    if losses is not None:
        numbers = losses.numbers[TO_TOKENS]
        held_out = Source("held-out pairs", losses.trained, losses.corpus, numbers, pad, store_of_few, spent)
    began = time.monotonic()
    progress = fit_levels(train, held_out, rule, saved=SavedLevels(run.scratch), resuming=run.resuming)
    # Without a distance between pretrained rows, the rate of gradient steps is all that is known about their size.
    spread = run.metrics.get("pretrained_rows_spread")
    rate = RATE_SHARE * cast("float", spread) if spread else cast("float", job.options.learning_rate)
    shifted = shift_endings(trained, collator, rate, job.seed) if rows.output is None else 0
    run.metrics["regression"] = {"levels": [asdict(level) for level in progress.levels], "rows_shifted": shifted}
    run.measured.update(
        regression_seconds=time.monotonic() - began,
        regression_pass_seconds=spent.pass_seconds,
        regression_solver_seconds=spent.solver_seconds,
        regression_passes=spent.passes,
        hidden_states_kept_in="memory" if in_memory else "files",
    )


def _tell(job: GroundingJob, measures: PairMeasures, untied: bool) -> None:
    """Say what is particular to this run."""
    if measures.losses is None:
        console.note(
            "nothing is held out, so no pair can choose how strongly the ridge pulls: its strength is "
            f"{STRENGTHS_UNSEEN[-1]:g}"
        )
    if not untied:
        return
    says = "the output head has rows of its own: the regression fits these, and"
    if not job.options.any_steps:
        console.warn(f"{says} the input rows stay as they start, for only gradient steps train them (--max-steps)")
    else:
        console.note(f"{says} the gradient steps afterwards train the input rows, too")
