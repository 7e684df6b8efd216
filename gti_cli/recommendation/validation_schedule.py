"""How often a run is validated where nobody said: long ones learn their training data by heart, and need to be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gti_cli import console
from gti_cli.recommendation.options import WITHOUT_LOOKING

if TYPE_CHECKING:
    from gti_cli.recommendation.job import Job
    from gti_cli.training.batches.mixture import MixedPlan

MOST = 20


def times(passes: float) -> int:
    """Validations of a run that goes ``passes`` times through what it is ranked on: one a pass, at most `MOST`.

    None in a run of up to three: there the last weights were the best (office, 5-million-parameter LM: R@10 .086, .116
    after 1 and 3 epochs). Ten epochs end at .094, the training answers known by heart; the best weights on the way have
    .107 (a schedule of five epochs: .121).
    """
    whole = round(passes)
    return 0 if whole <= WITHOUT_LOOKING else min(whole, MOST)


def with_validations(job: Job, plan: MixedPlan) -> Job:
    """The job with a number of validations: as asked for, or by the length of the run, where it can be ranked."""
    from gti_cli.training.sharding import asked_for

    if job.options.validations is not None:
        return job
    ranked = next((task.name for task in job.tasks if task.wanted), None)
    found = times(plan.passes(len(plan))[ranked]) if ranked is not None else 0
    if found and asked_for() is not None:
        console.warn(
            "a run of many epochs, and no validation of a model divided over devices: the last weights are kept"
        )
        found = 0
    if found:
        console.note(f"{found} validations on the way, the best weights are kept (--validations 0: the last)")
    return replace(job, options=replace(job.options, validations=found))
