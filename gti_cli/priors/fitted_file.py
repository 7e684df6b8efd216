"""A fitted prior in a file: the processes of a launch all train with what the first one has fitted.

The file holds more than `gti_cli.priors.stored_prior` writes into a checkpoint: also the networks of the folds, the
shares that a mixture has in training, and the report.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.priors.channels import ChannelsTargetMasses, channels_of
from gti_cli.priors.content_knn_prior import ContentKnnPrior, PlainTargetMasses
from gti_cli.priors.item_knn_prior import ItemKnnPrior, LeaveOneOut
from gti_cli.priors.masses import Prior, TargetMasses
from gti_cli.priors.mixed_prior import MixedPrior, MixedTargetMasses
from gti_cli.priors.packed_prior import Arrays, packed, unpacked
from gti_cli.priors.prior_data import FittedPrior, PriorData
from gti_cli.priors.sasrec_prior import CrossFitted, SasrecPrior
from gti_cli.tables.arrays.item_rows import names_in_order
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.workspace.files import replacing

_ENTRY = "gti_fitted_prior"  # of the file's metadata: a JSON object
_WHOLE = "whole"  # the prior of all users; the file's other priors are those of the folds, in their order
_FOLD_OF_USER = "fold_of_user"


def write_fitted(path: Path, fitted: FittedPrior) -> None:
    """Write a fitted prior.

    Args:
        path: The file.
        fitted: The prior, with similarities in float32.
    """
    from safetensors.numpy import save_file

    of_targets = fitted.of_targets
    channels = of_targets.channels if isinstance(of_targets, ChannelsTargetMasses) else [of_targets]
    mixtures = [one if isinstance(one, MixedTargetMasses) else MixedTargetMasses([one], [1.0]) for one in channels]
    priors: dict[str, Prior] = {_WHOLE: fitted.prior}
    arrays: Arrays = {}
    for member in [member for mixture in mixtures for member in mixture.members]:
        if isinstance(member, CrossFitted):
            priors |= {f"fold-{number}": fold for number, fold in enumerate(member.folds)}
            arrays[_FOLD_OF_USER] = member.fold_of_user
    described = {}
    for name, prior in priors.items():
        own, described[name] = packed(prior)
        arrays |= {f"{name}:{key}": array for key, array in own.items()}
    metadata = {
        "priors": described,
        "training_shares": [list(mixture.shares) for mixture in mixtures],
        "report": fitted.report,
    }
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={_ENTRY: json.dumps(metadata)})


def read_fitted(path: Path, data: PriorData) -> FittedPrior:
    """Read a fitted prior. This uses none of the random numbers that the model gets.

    Args:
        path: The file.
        data: What the prior was fitted to.

    Raises:
        InputError: When the file cannot be read.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    ids = names_in_order(data.row_of)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            metadata: dict[str, Any] = json.loads(file.metadata()[_ENTRY])
        priors: dict[str, Prior] = {}
        with torch.random.fork_rng([]):  # A network has random weights until it gets those of the file.
            for name, described in metadata["priors"].items():
                prefix = f"{name}:"
                own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
                priors[name] = unpacked(described, own, ids, data.row_of)
        whole, shares = priors.pop(_WHOLE), metadata["training_shares"]
        folds = [prior for prior in priors.values() if isinstance(prior, SasrecPrior)]
        of_channels: list[TargetMasses] = []
        for channel, of_channel in zip(channels_of(whole), shares, strict=True):
            members = channel.members if isinstance(channel, MixedPrior) else [channel]
            of_members = [_of_targets(member, folds, arrays.get(_FOLD_OF_USER), data) for member in members]
            of_channels.append(of_members[0] if len(of_members) == 1 else MixedTargetMasses(of_members, of_channel))
        of_targets = of_channels[0] if len(of_channels) == 1 else ChannelsTargetMasses(of_channels)
        return FittedPrior(whole, of_targets, metadata["report"])
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"the prior that was fitted for this run cannot be read ({error})",
            where=str(path),
            remedy="start over with --no-resume",
        ) from error


def _of_targets(
    prior: Prior, folds: list[SasrecPrior], fold_of_user: npt.NDArray[np.int64] | None, data: PriorData
) -> TargetMasses:
    """The form for training of a prior that is no mixture.

    Args:
        prior: The prior.
        folds: The priors of the folds of the users, where it is `sasrec`.
        fold_of_user: (users,) number of each user's fold, where it is `sasrec`.
        data: What the prior was fitted to.
    """
    if isinstance(prior, ItemKnnPrior):
        return LeaveOneOut(prior, UserLists.of(data.train).row_lists(data.row_of))
    if isinstance(prior, ContentKnnPrior):
        return PlainTargetMasses(prior)
    if not isinstance(prior, SasrecPrior) or fold_of_user is None:
        raise ValueError(f"nothing says how {prior.name} trains")
    return CrossFitted(prior, folds, fold_of_user)
