"""Tuning of `sasrec`: every setting of `GRID` is trained, and NDCG@10 on held-out items decides.

`gti_cli.evaluation.baselines.sasrec_training` trains one setting. The chosen network is stored, and used again with the
same data and options.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gti_cli import console
from gti_cli.evaluation.baselines.base import spread_sample
from gti_cli.evaluation.baselines.sasrec import Network, SASRec, Size
from gti_cli.evaluation.baselines.sasrec_training import (
    CUT_OFF,
    Budget,
    HeldOutTargets,
    train_network,
    training_sequences,
)
from gti_cli.tables.histories import History
from gti_cli.workspace.files import replacing

GRID = tuple(Size(hidden, dropout) for hidden in (64, 128) for dropout in (0.2, 0.5))
TARGETS = 4000  # Most held-out items measured after each epoch, evenly spread over the users.


@dataclass(frozen=True)
class SASRecInputs:
    """The data that `sasrec` is tuned and trained on.

    Attributes:
        train: Items of each user.
        tuning_train: Items of each user to train on while the setting is chosen.
        held_out: Targets that are not in ``tuning_train``.
        row_of: Catalogue row of each item id.
        filter_seen: Do not recommend seen items, as in the evaluation.
        seed: Seed of everything random.
    """

    train: Mapping[str, list[str]]
    tuning_train: Mapping[str, list[str]]
    held_out: Sequence[History]
    row_of: Mapping[str, int]
    filter_seen: bool
    seed: int

    def cache_key(self, device: torch.device, grid: Sequence[Size], budget: Budget) -> str:
        """SHA-256 of all that affects the trained network."""
        held_out = [(entry.items, entry.target) for entry in self.held_out]
        data = [
            list(self.row_of),
            list(self.train.values()),
            list(self.tuning_train.values()),
            held_out,
            self.filter_seen,
        ]
        options = [self.seed, device.type, [asdict(size) for size in grid], asdict(budget), TARGETS]
        return hashlib.sha256(json.dumps([data, options]).encode()).hexdigest()

    def targets(self) -> HeldOutTargets:
        """The held-out targets as catalogue rows, at most `TARGETS`."""
        entries = spread_sample(self.held_out, TARGETS)
        histories = [[self.row_of[item] for item in entry.items] for entry in entries]
        return HeldOutTargets(histories, [self.row_of[entry.target] for entry in entries], self.filter_seen)


def tune_sasrec(
    inputs: SASRecInputs,
    folder: Path,
    device: torch.device,
    grid: Sequence[Size] | None = None,
    budget: Budget | None = None,
) -> tuple[SASRec, dict[str, Any]]:
    """Train every setting and return the best network, or read it from the cache.

    Where ``inputs.tuning_train`` is less than ``inputs.train``, the chosen setting is trained once more on all of it,
    for the number of epochs that was best.

    Args:
        inputs: Training items, held-out targets and seed.
        folder: Folder of the cache.
        device: Where it trains.
        grid: Settings to try (None: `GRID`).
        budget: Length of each training (None: the default).

    Returns:
        The model, and a report of the tuning for the manifest.
    """
    from safetensors.torch import save_file

    grid, budget = grid or GRID, budget or Budget()
    path = folder / f"sasrec-{inputs.cache_key(device, grid, budget)[:16]}.safetensors"
    stored = _load_network(path, len(inputs.row_of))
    if stored is not None:
        console.note("sasrec: trained already on the same data")
        return SASRec(stored[0].to(device)), stored[1]
    network, report = _train_grid(inputs, device, grid, budget)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, temporary)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(report, sort_keys=True), "utf-8")
    return SASRec(network), report


def _load_network(path: Path, items: int) -> tuple[Network, dict[str, Any]] | None:
    """Read a stored network and its report; None where they are missing or cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        report: dict[str, Any] = json.loads(path.with_suffix(".json").read_text("utf-8"))
        network = Network(items, Size(**report["chosen"]))
        network.load_state_dict(load_file(path))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError):
        return None
    return network, report


def _train_grid(
    inputs: SASRecInputs, device: torch.device, grid: Sequence[Size], budget: Budget
) -> tuple[Network, dict[str, Any]]:
    """Train every setting, and the best one again if it has not seen all training items."""
    held_out = inputs.targets()
    trials: list[tuple[Size, int, float]] = []  # Setting, best epoch, NDCG@10.
    best: Network | None = None
    items = len(inputs.row_of)
    for size in grid:
        sequences = training_sequences(inputs.tuning_train, inputs.row_of, size.length)
        network, epochs, ndcg = train_network(
            sequences, items, size, budget, held_out=held_out, seed=inputs.seed, device=device
        )
        if best is None or ndcg > max(earlier for _, _, earlier in trials):
            best = network
        trials.append((size, epochs, ndcg))
    assert best is not None
    chosen, epochs, ndcg = max(trials, key=lambda trial: trial[2])
    train_again = inputs.tuning_train != inputs.train
    if train_again:
        sequences = training_sequences(inputs.train, inputs.row_of, chosen.length)
        best_epochs = replace(budget, epochs=epochs)
        best, _, _ = train_network(
            sequences, items, chosen, best_epochs, held_out=None, seed=inputs.seed, device=device
        )
    return best, {
        "chosen": asdict(chosen),
        "epochs": epochs,
        f"ndcg@{CUT_OFF}": ndcg,
        "settings_tried": [{**asdict(size), "epochs": n, f"ndcg@{CUT_OFF}": value} for size, n, value in trials],
        "at_most_epochs": budget.epochs,
        "patience": budget.patience,
        "batch_size": budget.batch_size,
        "learning_rate": budget.learning_rate,
        "held_out_targets": len(inputs.held_out),
        "held_out_targets_used": len(held_out.targets),
        "trained_again_on_all": train_again,
    }
