"""The networks of a cross-fitted `sasrec`: each is trained without the users of one fold."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gti_cli import console
from gti_cli.baselines.sasrec import Network, Size
from gti_cli.baselines.sasrec_training import Budget, train_network, training_sequences
from gti_cli.baselines.sasrec_tuning import SASRecInputs, number_formats
from gti_cli.errors import InputError
from gti_cli.tables.arrays.digests import digest_json
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.workspace import processes
from gti_cli.workspace.files import replacing

Ints = npt.NDArray[np.int64]

FOLDS = 2


def divide_users(inputs: SASRecInputs) -> Ints:
    """(users,) fold of each user. Users with training targets are divided evenly and at random.

    Raises:
        InputError: When there are fewer users with training targets than folds.
    """
    has_targets = UserLists.of(inputs.train).lengths > 1
    users = np.flatnonzero(has_targets)
    if len(users) < FOLDS:
        raise InputError(
            f"--prior sasrec trains on some users for the targets of others, and fewer than {FOLDS} users have two "
            "training items",
            remedy="use --prior item-knn, or drop --prior",
        )
    folds = np.zeros(len(has_targets), dtype=np.int64)
    order = np.random.default_rng([inputs.seed, len(users)]).permutation(len(users))
    folds[users[order]] = np.arange(len(users)) % FOLDS
    return folds


@dataclass(frozen=True)
class FoldTraining:
    """How the network of each fold is trained: as the one of all users was.

    Attributes:
        inputs: Data and seed.
        size: Size of the network.
        epochs: Number of epochs.
        device: Where it trains.
    """

    inputs: SASRecInputs
    size: Size
    epochs: int
    device: torch.device

    def networks(self, fold_of_user: Ints, folder: Path) -> list[Network]:
        """Train the network of each fold, or read all of them from the cache. The first process trains for all.

        Args:
            fold_of_user: (users,) fold of each user.
            folder: Folder of the cache.
        """
        path = folder / f"sasrec-folds-{self._cache_key()[:16]}.safetensors"
        return processes.made_by_first(
            path, lambda: self._load(path), lambda: self._train_and_store(fold_of_user, path)
        )

    def _train_and_store(self, fold_of_user: Ints, path: Path) -> list[Network]:
        """Train the network of each fold, and write what `_load` reads."""
        from safetensors.torch import save_file

        networks = [self._train(fold_of_user != fold) for fold in range(FOLDS)]
        tensors = {
            f"{fold}/{name}": tensor.cpu().contiguous()
            for fold, network in enumerate(networks)
            for name, tensor in network.state_dict().items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file(tensors, temporary)
        return [network.cpu() for network in networks]

    def _train(self, chosen: npt.NDArray[np.bool_]) -> Network:
        """Train a network on some of the users."""
        inputs = self.inputs
        lists = UserLists.of(inputs.train)
        own = lists.where(np.repeat(chosen, lists.lengths))
        sequences = training_sequences(own, inputs.row_of, self.size.length)
        budget = replace(Budget(), epochs=self.epochs)
        items = len(inputs.row_of)
        return train_network(sequences, items, self.size, budget, held_out=None, seed=inputs.seed, device=self.device)[
            0
        ]

    def _cache_key(self) -> str:
        """SHA-256 of all that affects the trained networks."""
        inputs = self.inputs
        data = [iter(inputs.row_of), iter(inputs.train.values())]
        options = [inputs.seed, *number_formats(self.device), asdict(self.size), self.epochs, asdict(Budget()), FOLDS]
        return digest_json([data, options])

    def _load(self, path: Path) -> list[Network] | None:
        """Read stored networks; None where they are missing or cannot be read."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
            networks = [Network(len(self.inputs.row_of), self.size) for _ in range(FOLDS)]
            for fold, network in enumerate(networks):
                prefix = f"{fold}/"
                own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
                network.load_state_dict(own)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError):
            return None
        console.note("sasrec: trained already on each half of the same users")
        return networks
