"""The behaviour prior of a fine-tuning run: counted before training, learned with the model, saved beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gti_cli import console
from gti_cli.baselines.item_knn import ItemKNN
from gti_cli.baselines.item_knn_tuning import tune
from gti_cli.baselines.run import hold_out_last
from gti_cli.checkpoints.new_tokens import code_ids
from gti_cli.decoding.prior_bias import ModelPrior, PriorTrie, PromptPrior
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError
from gti_cli.priors.item_knn_prior import ItemKnnPrior
from gti_cli.priors.stored_prior import StoredPrior, read_prior, write_prior
from gti_cli.priors.training_prior import TrainingPrior
from gti_cli.recommendation.job import FinetuneJob
from gti_cli.training.batches.mixture import ExampleCollator
from gti_cli.training.prior_weights import PriorWeights, attach, find

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gti_cli.recommendation.examples import TaskExamples
    from gti_cli.workspace import StageRun

START = 0.7  # Weight of every level before training. In the runs tried, training ended between .6 and .9.


@dataclass(frozen=True)
class JobPrior:
    """The prior of a run.

    Attributes:
        prior: Gives the masses of items behind a history.
        trie: The catalogue, on the device of the model.
        code_ids: L int64 tensors. Token id of each code of a level.
        item_ids: Item id of each row of the catalogue.
    """

    prior: ItemKnnPrior
    trie: PriorTrie
    code_ids: Sequence[torch.Tensor]
    item_ids: Sequence[str]

    def behind(self, histories: Sequence[Sequence[int]], model: PreTrainedModel) -> Callable[[], PromptPrior]:
        """Returns a function: the prior behind prompts that show these histories, with the weights as they are then."""
        masses = self.prior.masses(histories)

        def now() -> PromptPrior:
            weights = find(model)
            assert weights is not None, "the weights are attached before training"
            return ModelPrior(self.trie, weights.weights.detach().clone(), self.code_ids).behind(masses)

        return now

    def save(self, folder: Path, learned: PriorWeights, run: StageRun) -> None:
        """Write the prior beside the checkpoint, and record the weights of its levels."""
        weights = learned.weights.detach().float().cpu().numpy()
        write_prior(folder, StoredPrior(self.prior, weights), self.item_ids)
        run.metrics["prior_weights"] = weights.astype(float).round(6).tolist()


def add_prior(job: FinetuneJob, model: PreTrainedModel, examples: TaskExamples, run: StageRun) -> JobPrior:
    """Tune and count the prior, give its weights to the model, and its biases to the batches.

    Args:
        job: The run.
        model: The model; gets a module with the weights.
        examples: The run's examples; their collators are changed.
        run: Gets how the prior was tuned in ``metrics``.

    Raises:
        InputError: When there are no interactions to count, or no history to tune the prior on.
    """
    catalogue, row_of = job.data.catalogue, job.data.catalogue.row_of()
    prior, report = _count(job)
    run.metrics["prior"] = report
    trie = build_trie(catalogue.codes)
    ids = code_ids(job.new_tokens, job.sizes)
    layout = examples.collator.layout
    earlier = read_prior(Path(job.checkpoint.path), row_of)
    start = earlier.weights.tolist() if earlier is not None else [START] * trie.levels
    weights = PriorWeights(ids, start, opening=len(layout.frame.opening), answer_length=layout.levels + 1)
    attach(model, weights.to(job.device))
    on_cpu = PriorTrie(trie, job.sizes, torch.device("cpu"))  # Batches are made on the CPU.
    of_training, of_validation = (TrainingPrior(prior, trie, on_cpu, leave_out_own=own) for own in (True, False))
    examples.collator = ExampleCollator(replace(layout, prior=of_training))
    examples.valid_collator = ExampleCollator(replace(layout, prior=of_validation))
    on_device = [torch.from_numpy(np.ascontiguousarray(level)).to(job.device) for level in ids]
    return JobPrior(prior, PriorTrie(trie, job.sizes, job.device), on_device, catalogue.item_ids)


def _count(job: FinetuneJob) -> tuple[ItemKnnPrior, dict[str, Any]]:
    """The prior that item-knn gives with its best settings, and a report of the tuning."""
    splits, row_of = job.data.splits, job.data.catalogue.row_of()
    if splits is None:
        raise InputError("--prior item-knn has no interactions to count", remedy="give --interactions, or drop --prior")
    tuning_train, held_out = (splits.train, splits.valid) if splits.valid else hold_out_last(splits.train)
    if not held_out:
        raise InputError(
            "--prior item-knn has no history to be tuned on",
            remedy="it needs users with at least two training items; or drop --prior",
        )
    outcome = tune(tuning_train, held_out, row_of, filter_seen=False)
    console.note(f"prior item-knn: NDCG@10 {outcome.ndcg:.4f} on {outcome.targets:,} held-out items, seen items kept")
    prior = ItemKnnPrior.of(ItemKNN(splits.train, row_of, outcome.best))
    # It is stored in this precision, and training sees what is stored.
    prior.similarity.data = prior.similarity.data.astype(np.float32).astype(np.float64)
    return prior, outcome.report()
