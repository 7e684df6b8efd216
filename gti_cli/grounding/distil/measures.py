"""What is measured for distillation: how close hidden states after tokens are to those after phrases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from gti_cli.geometry.sampling import draw_at_most
from gti_cli.grounding.distil.batches import DistilCollator
from gti_cli.grounding.distil.objective import DistilModel
from gti_cli.grounding.evaluations import HELD_OUT_LOSS
from gti_cli.grounding.held_out import BATCH, sum_over_batches
from gti_cli.grounding.job import GroundingJob
from gti_cli.grounding.row_figures import matrix_figures

PHRASE_LOSS = "loss_following_phrase"  # of the frozen model alone: training cannot change it


class DistilMeasures:
    """The `HeldOutMeasures` of distillation, on held-out contexts.

    Attributes:
        examples: Number of contexts that are measured, at most ``held_out_sample``.
    """

    def __init__(self, job: GroundingJob, trained: DistilModel, collator: DistilCollator) -> None:
        """Draw the sample.

        Args:
            job: The run.
            trained: The module that trains.
            collator: Makes batches of the held-out contexts.
        """
        self._job, self._trained, self._collator = job, trained, collator
        self._numbers = draw_at_most(range(len(collator.corpus.examples)), job.options.held_out_sample, job.seed)
        self.examples = len(self._numbers)

    def curve_figures(self) -> dict[str, float | None]:
        """Measure `distance_report` on the held-out contexts, and the effective rank of the rows."""
        job = self._job
        figures: dict[str, float | None] = {}
        if self._numbers:
            lockstep = job.sharding is not None
            figures.update(distance_report(self._trained, self._collator, self._numbers, job.device, lockstep=lockstep))
        figures.update(matrix_figures(self._trained.rows.matrices(), None, job.seed, job.new_tokens.codes_or_all()))
        return figures

    def retrieval_figures(self) -> dict[str, float]:
        """Return {}: there are no items to search among."""
        return {}


def distance_report(
    model: DistilModel,
    collator: DistilCollator,
    numbers: Sequence[int],
    device: torch.device,
    size: int = BATCH,
    *,
    lockstep: bool = False,
) -> dict[str, float]:
    """Compute figures over examples; several processes share the work.

    Args:
        model: The module that trains.
        collator: Makes batches of the examples.
        numbers: Indices of the examples.
        device: Where the model is.
        size: Examples in a batch.
        lockstep: Run the model equally often in every process, see `held_out.sum_over_batches`.

    Returns:
        ``held_out_loss``: the objective. ``hidden_mse``: mean squared error of hidden states. ``hidden_distance``: its
        root, divided by the root mean square of the states after phrases (0: equal). ``loss_token``: negative
        log-likelihood (nats per token) of the new tokens in their place. ``loss_following``: that of the text after
        them; ``loss_following_phrase``: that of the same text after the phrase, which training does not change.
    """

    def batch_sums(batch: Sequence[int]) -> torch.Tensor:
        """Compute the sums over some examples, on the CPU."""
        return model.measure({name: value.to(device) for name, value in collator(batch)["batch"].items()}).cpu()

    lengths = collator.corpus.computed_lengths()
    totals = sum_over_batches(batch_sums, len(model.SUMS), numbers, lengths, device, size=size, lockstep=lockstep)
    total = dict(zip(model.SUMS, totals, strict=True))
    report = {
        HELD_OUT_LOSS: total["loss"] / total["positions"],
        "hidden_mse": total["error"] / total["positions"],
        "hidden_distance": math.sqrt(total["error"] / total["power"]),
        "loss_token": total["nll_tokens"] / total["tokens"],
    }
    if total["following"]:
        report["loss_following"] = total["nll_following"] / total["following"]
        report[PHRASE_LOSS] = total["nll_phrase"] / total["following"]
    return report
