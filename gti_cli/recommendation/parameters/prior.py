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
from gti_cli.decoding.prior_bias import PriorTrie
from gti_cli.decoding.prompt_prior import ModelPrior, PromptPrior
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError
from gti_cli.priors.item_knn_prior import ItemKnnPrior
from gti_cli.priors.stored_prior import StoredPrior, find_prior, read_prior, write_prior
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
        run.details["behaviour_prior"] = self.prior.name


def add_prior(job: FinetuneJob, model: PreTrainedModel, examples: TaskExamples, run: StageRun) -> JobPrior:
    """Tune and count the prior, give its weights to the model, and its biases to the batches.

    Args:
        job: The run.
        model: The model; gets a module with the weights.
        examples: The run's examples; their collator is changed.
        run: Gets how the prior was tuned in ``metrics``.

    Raises:
        InputError: When there is no history to tune the prior on.
    """
    catalogue, row_of = job.data.catalogue, job.data.catalogue.row_of()
    prior, sequences, report = _count(job)
    run.metrics["prior"] = report
    trie = build_trie(catalogue.codes)
    ids = code_ids(job.new_tokens, job.sizes)
    layout = examples.collator.layout
    folder = find_prior(job.checkpoint)
    earlier = read_prior(folder, row_of) if folder is not None else None
    start = [START] * trie.levels
    if earlier is not None and len(earlier.weights) == trie.levels:
        start = earlier.weights.tolist()  # the model has learned with these
    weights = PriorWeights(ids, start, opening=len(layout.frame.opening), answer_length=layout.levels + 1)
    attach(model, weights.to(job.device))
    # Batches are made on the CPU.
    of_batches = TrainingPrior(prior, trie, PriorTrie(trie, job.sizes, torch.device("cpu")), sequences)
    examples.collator = ExampleCollator(replace(layout, prior=of_batches))
    on_device = [torch.from_numpy(np.ascontiguousarray(level)).to(job.device) for level in ids]
    return JobPrior(prior, PriorTrie(trie, job.sizes, job.device), on_device, catalogue.item_ids)


def _count(job: FinetuneJob) -> tuple[ItemKnnPrior, list[list[int]], dict[str, Any]]:
    """The prior that item-knn gives with its best settings, the sequences it has counted, a report of the tuning."""
    splits, row_of = job.data.splits, job.data.catalogue.row_of()
    assert splits is not None, "a run without histories is refused before"
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
    sequences = [[row_of[item] for item in items] for items in splits.train.values()]
    return prior, sequences, outcome.report()
