"""Fits the prior of a fine-tuning run: for use on all users, and for training so that no user knows the own answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from gti_cli import console
from gti_cli.baselines import sasrec_tuning
from gti_cli.baselines.item_knn import ItemKNN
from gti_cli.baselines.item_knn_tuning import tune
from gti_cli.baselines.sasrec import SASRec, Size
from gti_cli.baselines.sasrec_tuning import SASRecInputs, tune_sasrec
from gti_cli.errors import InputError
from gti_cli.priors.calibration import TargetProbabilities, calibrate, choose_shares
from gti_cli.priors.channels import ChannelsPrior, ChannelsTargetMasses
from gti_cli.priors.content_knn_fit import fit_content_knn, read_embeddings
from gti_cli.priors.item_knn_prior import ItemKnnPrior, LeaveOneOut
from gti_cli.priors.mixed_prior import MixedPrior, MixedTargetMasses
from gti_cli.priors.prior_data import FittedPrior, PriorData
from gti_cli.priors.sasrec_folds import FOLDS, FoldTraining, divide_users
from gti_cli.priors.sasrec_prior import CrossFitted, SasrecPrior
from gti_cli.tables.arrays.user_lists import UserLists

ITEM_KNN, SASREC, CONTENT_KNN = "item-knn", "sasrec", "content-knn"


def fit_prior(name: str, data: PriorData) -> FittedPrior:
    """Tune and fit a prior.

    Args:
        name: One or more of ``item-knn``, ``sasrec`` and ``content-knn`` with a ``+`` between them. The first two
            become one mixture, since both say what other users did; ``content-knn`` stands beside them as a channel.
        data: What it is fitted to.

    Raises:
        InputError: When there is no history to tune the prior on, or there are no embeddings for ``content-knn``.
    """
    if not data.tuning_split()[1]:
        raise InputError(
            f"--prior {name} has no history to be tuned on",
            remedy="it needs users with at least two training items; or drop --prior",
        )
    members = name.split("+")
    if CONTENT_KNN in members:
        vectors = read_embeddings(data)  # refuses before anything is trained
    counted = [_FITS[member](data) for member in members if member != CONTENT_KNN]
    channels = counted if len(counted) < 2 else [_mix(counted[0], counted[1], data)]
    if CONTENT_KNN in members:
        channels.append(fit_content_knn(vectors, data))
    return channels[0] if len(channels) == 1 else _side_by_side(channels)


def _side_by_side(channels: Sequence[FittedPrior]) -> FittedPrior:
    """Several priors as the channels of one."""
    prior = ChannelsPrior([channel.prior for channel in channels])
    report = {channel.prior.name: channel.report for channel in channels}
    return FittedPrior(prior, ChannelsTargetMasses([channel.of_targets for channel in channels]), report)


def _fit_item_knn(data: PriorData) -> FittedPrior:
    """The prior that item-knn gives with its best settings."""
    tuning_train, held_out = data.tuning_split()
    outcome = tune(tuning_train, held_out, data.row_of, filter_seen=False)
    console.note(f"prior item-knn: NDCG@10 {outcome.ndcg:.4f} on {outcome.targets:,} held-out items, seen items kept")
    prior = ItemKnnPrior.of(ItemKNN(data.train, data.row_of, outcome.best))
    # It is stored in this precision, and training sees what is stored.
    prior.similarity.data = prior.similarity.data.astype(np.float32).astype(np.float64)
    sequences = UserLists.of(data.train).row_lists(data.row_of)
    return FittedPrior(prior, LeaveOneOut(prior, sequences), outcome.report())


def _fit_sasrec(data: PriorData) -> FittedPrior:
    """The prior that sasrec gives with its best setting; for training one network for each fold of the users."""
    tuning_train, held_out = data.tuning_split()
    inputs = SASRecInputs(data.train, tuning_train, held_out, data.row_of, filter_seen=False, seed=data.seed)
    fold_of_user = divide_users(inputs)  # refuses too few users before anything is trained
    most = sasrec_tuning.SEARCH.trainings
    console.note(
        f"prior sasrec: its setting is found with at most {most} networks, as that of the baseline; then one network "
        f"more is trained for each of {FOLDS} parts of the users"
    )
    # A network that is read from the cache must leave the same random numbers to the model as one that is trained.
    with torch.random.fork_rng([data.device] if data.device.type == "cuda" else []):
        model, tuning = tune_sasrec(inputs, data.cache, data.device)
        training = FoldTraining(inputs, Size(**tuning["chosen"]), tuning["epochs"], data.device)
        networks = training.networks(fold_of_user, data.cache)
    known_row = np.arange(len(data.row_of), dtype=np.int64)
    # Batches are made on the CPU.
    whole, *folds = (SasrecPrior(SASRec(network.cpu()), known_row) for network in (model.network, *networks))
    parts, targets = data.held_out()
    histories = [part.items[:-1] for part in parts]
    of_part = np.asarray([fold_of_user[part.user] if part.user >= 0 else -1 for part in parts])
    of_folds = []
    for fold, prior in enumerate(folds):
        own = np.flatnonzero(of_part == fold)
        if len(own):
            of_folds.append(calibrate(prior, [histories[n] for n in own], [targets[n] for n in own]))
            folds[fold] = prior.with_temperature(of_folds[-1].temperature)
    report: dict[str, Any] = {
        **tuning,
        "folds": [asdict(measured) for measured in of_folds],
        "fold_users": np.bincount(fold_of_user, minlength=len(folds)).tolist(),
    }
    if data.valid:
        measured = calibrate(whole, histories, targets)
        report["whole"] = asdict(measured)
        whole = whole.with_temperature(measured.temperature)
        console.note(
            f"prior sasrec: NDCG@10 {measured.ndcg:.4f} on {measured.targets:,} held-out items, seen items kept; for "
            f"users that it has not seen {np.mean([fold.ndcg for fold in of_folds]):.4f}, as in training"
        )
    else:  # The network of all users has seen the held-out items.
        whole = whole.with_temperature(float(np.exp(np.mean(np.log([fold.temperature for fold in of_folds])))))
    report["temperature"] = whole.temperature
    report.update(_left_out(whole, histories))
    return FittedPrior(whole, CrossFitted(whole, folds, fold_of_user), report)


def _left_out(prior: SasrecPrior, histories: Sequence[Sequence[int]]) -> dict[str, Any]:
    """How many items have mass at most, and the share of mass that the others lose by it."""
    share = 0.0
    if len(prior.known_row) > prior.most_items:
        sums = np.asarray(prior.masses(histories[:: max(len(histories) // 200, 1)]).sum(axis=1)).ravel()
        share = float(1 - sums[sums > 0].mean()) if sums.any() else 0.0
        console.note(
            f"prior sasrec: behind a history the {prior.most_items:,} likeliest items have mass; the others, which "
            f"would have {share:.2%} of it, keep their even share"
        )
    return {"most_items": prior.most_items, "mass_left_out": share}


def _mix(first: FittedPrior, second: FittedPrior, data: PriorData) -> FittedPrior:
    """Mix two priors, with the shares under which held-out targets are most likely, for training and for use each."""
    parts, targets = data.held_out()
    histories, items = [part.items[:-1] for part in parts], len(data.row_of)

    def in_training(member: FittedPrior) -> TargetProbabilities:
        """What a member gives to the held-out targets without what their own users tell."""
        return TargetProbabilities.measure(lambda a, b: member.of_targets.masses_of_targets(parts[a:b]), targets)

    def in_use(member: FittedPrior) -> TargetProbabilities:
        """What a member gives to the held-out targets in use."""
        return TargetProbabilities.measure(lambda a, b: member.prior.masses(histories[a:b]), targets)

    share, likelihood = choose_shares(in_training(first), in_training(second), items)
    report: dict[str, Any] = {member.prior.name: member.report for member in (first, second)}
    report["training"] = {"shares": [share, 1 - share], "log_likelihood": likelihood}
    of_targets = MixedTargetMasses((first.of_targets, second.of_targets), (share, 1 - share))
    if data.valid:  # Otherwise the held-out items were counted and trained on.
        share, likelihood = choose_shares(in_use(first), in_use(second), items)
        report["whole"] = {"shares": [share, 1 - share], "log_likelihood": likelihood}
    prior = MixedPrior((first.prior, second.prior), (share, 1 - share))
    report["shares"] = [share, 1 - share]
    console.note(f"prior {prior.name}: shares {share:.2f} and {1 - share:.2f} of the mass")
    return FittedPrior(prior, of_targets, report)


_FITS = {ITEM_KNN: _fit_item_knn, SASREC: _fit_sasrec}
