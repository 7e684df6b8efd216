"""The behaviour prior of a fine-tuning run: fitted before training, learned with the model, saved beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from gti_cli import console
from gti_cli.checkpoints.new_tokens import code_ids
from gti_cli.decoding.prior_bias import PriorTrie
from gti_cli.decoding.prompt_prior import ModelPrior, PromptPrior
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import list_names
from gti_cli.priors.channels import channels_of
from gti_cli.priors.fitted_file import read_fitted, write_fitted
from gti_cli.priors.fitting import fit_prior
from gti_cli.priors.masses import Prior
from gti_cli.priors.prior_data import FittedPrior, PriorData
from gti_cli.priors.stored_prior import StoredPrior, find_prior, read_prior, write_prior
from gti_cli.priors.training_prior import TrainingPrior
from gti_cli.recommendation.job import FinetuneJob
from gti_cli.training.batches.mixture import ExampleCollator
from gti_cli.training.prior_weights import PriorWeights, attach, find
from gti_cli.workspace import processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gti_cli.recommendation.examples import TaskExamples
    from gti_cli.workspace import StageRun

FITTED_FILE = "prior.safetensors"  # what the first of several processes has fitted, among the run's temporary files
START = 0.7  # Weight of every level before training. In the runs tried, training ended between .6 and .9.
# A channel beside another one starts lower. Fitted without a model, content-knn beside the others gets this weight.
START_OF_OTHERS = 0.35


@dataclass(frozen=True)
class JobPrior:
    """The prior of a run.

    Attributes:
        prior: Gives the masses of items behind a history.
        trie: The catalogue, on the device of the model.
        code_ids: L int64 tensors. Token id of each code of a level.
        item_ids: Item id of each row of the catalogue.
    """

    prior: Prior
    trie: PriorTrie
    code_ids: Sequence[torch.Tensor]
    item_ids: Sequence[str]

    def behind(self, histories: Sequence[Sequence[int]], model: PreTrainedModel) -> Callable[[], PromptPrior]:
        """Returns a function: the prior behind prompts that show these histories, with the weights as they are then."""
        masses = self.prior.masses(histories)

        def now() -> PromptPrior:
            """The prior behind the prompts, with the weights as they are."""
            weights = find(model)
            assert weights is not None, "the weights are attached before training"
            return ModelPrior(self.trie, weights.weights.detach().clone(), self.code_ids).behind(masses)

        return now

    def save(self, folder: Path, learned: PriorWeights, run: StageRun) -> None:
        """Write the prior beside the checkpoint, and record the weights of its levels."""
        weights = learned.weights.detach().float().cpu().numpy()
        weights = weights[0] if len(weights) == 1 else weights
        write_prior(folder, StoredPrior(self.prior, weights), self.item_ids)
        run.metrics["prior_weights"] = weights.astype(float).round(6).tolist()
        run.details["behaviour_prior"] = self.prior.name


def add_prior(job: FinetuneJob, model: PreTrainedModel, examples: TaskExamples, run: StageRun) -> JobPrior:
    """Tune and fit the prior, give its weights to the model, and its biases to the batches.

    Args:
        job: The run.
        model: The model; gets a module with the weights.
        examples: The run's examples; their collator is changed.
        run: Gets how the prior was tuned in ``metrics``.

    Raises:
        InputError: When there is no history to tune the prior on, or another process has not fitted it.
    """
    catalogue, row_of = job.data.catalogue, job.data.catalogue.row_of()
    fitted = _fit(job, run)
    run.metrics["prior"] = fitted.report
    trie = build_trie(catalogue.codes)
    ids = code_ids(job.new_tokens, job.sizes)
    layout = examples.collator.layout
    folder = find_prior(job.checkpoint)
    earlier = read_prior(folder, row_of) if folder is not None else None
    channels = len(channels_of(fitted.prior))
    starts = [START, *[START_OF_OTHERS] * (channels - 1)]
    start = [[weight] * trie.levels for weight in starts]
    if earlier is not None and earlier.prior.name != fitted.prior.name:
        named = job.checkpoint.artifact or job.checkpoint.path
        console.note(other_prior(named, earlier.prior.name, fitted.prior.name, starts))
    elif earlier is not None and earlier.weights.shape[-1] == trie.levels:
        start = earlier.weights.reshape(channels, -1).tolist()  # the model has learned with these
    weights = PriorWeights(ids, start, opening=len(layout.frame.opening), answer_length=layout.levels + 1)
    attach(model, weights.to(job.device))
    # Batches are made on the CPU.
    of_batches = TrainingPrior(fitted.of_targets, trie, PriorTrie(trie, job.sizes, torch.device("cpu")))
    examples.collator = ExampleCollator(replace(layout, prior=of_batches))
    on_device = [torch.from_numpy(np.ascontiguousarray(level)).to(job.device) for level in ids]
    return JobPrior(fitted.prior, PriorTrie(trie, job.sizes, job.device), on_device, catalogue.item_ids)


def other_prior(checkpoint: str, before: str, now: str, starts: Sequence[float]) -> str:
    """Say that a checkpoint was trained with another prior, and where the weights of this one start.

    Args:
        checkpoint: The checkpoint that was started from.
        before: Name of its prior.
        now: Name of the prior of this run.
        starts: Weight of the levels before training, one for each channel.
    """
    weights = list_names(starts) + (" (channel by channel)" if len(starts) > 1 else "")
    return (
        f"{checkpoint} was trained with the prior {before}, and this run trains with {now}: the weights of its levels "
        f"start at {weights}"
    )


def _fit(job: FinetuneJob, run: StageRun) -> FittedPrior:
    """The prior, and its form for training. Of several processes the first one fits it, and all read what it wrote."""
    splits = job.data.splits
    assert splits is not None, "a run without histories is refused before"
    row_of = job.data.catalogue.row_of()
    data = PriorData(splits.train, splits.valid, row_of, job.seed, job.device, job.baselines, job.embeddings)
    if processes.world() == 1:
        return fit_prior(job.options.prior, data)
    path = run.scratch / FITTED_FILE

    def load() -> FittedPrior | None:
        """The prior in the file: an interrupted run may have fitted it."""
        return read_fitted(path, data) if path.is_file() else None

    def fit() -> FittedPrior:
        """The same, fitted, written and read: each process goes on with what is in the file."""
        write_fitted(path, fit_prior(job.options.prior, data))
        return read_fitted(path, data)

    return processes.made_by_first(path, load, fit)
