"""Tuning of `sasrec`: networks of several sizes are trained, and NDCG@10 on held-out items decides.

The search starts at one size and goes to larger and smaller values of each setting while that helps
(`gti_cli.baselines.setting_search`). `gti_cli.baselines.sasrec_training` trains one network. The
chosen network is stored, and used again with the same data and options. While the search goes on, so are the ones that
it has tried: a search that was stopped trains none of them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from gti_cli import console
from gti_cli.baselines.base import spread_sample
from gti_cli.baselines.sasrec import Network, SASRec, Size
from gti_cli.baselines.sasrec_training import (
    CUT_OFF,
    Budget,
    HeldOutTargets,
    loss_dtype,
    train_network,
    training_sequences,
)
from gti_cli.baselines.setting_search import climb_settings, settings_at_edge
from gti_cli.baselines.stored.unfinished_search import UnfinishedSearch
from gti_cli.tables.arrays.digests import digest_json
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.tables.histories import History
from gti_cli.workspace import processes
from gti_cli.workspace.files import replacing

# Beyond these values there is nothing to search.
ENDS: dict[str, tuple[float, ...]] = {"dropout": (0.0,), "blocks": (1,)}
TARGETS = 4000  # Most held-out items measured after each epoch, evenly spread over the users.


@dataclass(frozen=True)
class SizeSearch:
    """Which sizes are tried.

    Attributes:
        start: The first one.
        grid: The values of each setting in ascending order. Settings are searched in this order.
        trainings: Most networks to train.
        gain: Another size must be better by more than this share of NDCG@10. Smaller differences are within the
            sampling error of some thousand held-out items, and to follow them leads to networks that learn by heart.
    """

    start: Size = field(default_factory=lambda: Size(hidden=128, dropout=0.35))
    grid: dict[str, tuple[float, ...]] = field(
        default_factory=lambda: {
            "dropout": (0.0, 0.2, 0.35, 0.5, 0.65, 0.8),
            "hidden": (32, 64, 128, 256, 512),
            "blocks": (1, 2, 3, 4),
            "length": (10, 20, 50, 100, 200),
        }
    )
    trainings: int = 12
    gain: float = 0.01

    def within(self, longest: int) -> SizeSearch:
        """The search without lengths that are all the same, because no sequence of training items is so long.

        Args:
            longest: Items of the longest training sequence before its last target.
        """
        lengths = self.grid["length"]
        enough = min((length for length in lengths if length >= longest), default=lengths[-1])
        start = replace(self.start, length=min(self.start.length, int(enough)))
        return replace(self, start=start, grid={**self.grid, "length": tuple(n for n in lengths if n <= enough)})


SEARCH = SizeSearch()


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

    def cache_key(self, device: torch.device, search: SizeSearch, budget: Budget) -> str:
        """SHA-256 of all that affects the trained network."""
        data = [
            iter(self.row_of),
            iter(self.train.values()),
            iter(self.tuning_train.values()),
            ((entry.items, entry.target) for entry in self.held_out),
            self.filter_seen,
        ]
        options = [self.seed, *number_formats(device), asdict(search), asdict(budget), TARGETS]
        return digest_json([data, options])

    def targets(self) -> HeldOutTargets:
        """The held-out targets as catalogue rows, at most `TARGETS`."""
        entries = spread_sample(self.held_out, TARGETS)
        histories = [[self.row_of[item] for item in entry.items] for entry in entries]
        return HeldOutTargets(histories, [self.row_of[entry.target] for entry in entries], self.filter_seen)


def number_formats(device: torch.device) -> list[str]:
    """Kind of device and number format of the loss, on which the weights depend, for the keys of caches."""
    return [device.type, str(loss_dtype(device))]


def tune_sasrec(
    inputs: SASRecInputs,
    folder: Path,
    device: torch.device,
    search: SizeSearch | None = None,
    budget: Budget | None = None,
) -> tuple[SASRec, dict[str, Any]]:
    """Search for the best network, or read it from the cache.

    Where ``inputs.tuning_train`` is less than ``inputs.train``, the chosen setting is trained once more on all of it,
    for the number of epochs that was best. A search that was stopped goes on behind the last network that it trained.

    With several processes the first one searches, and the others wait.

    Args:
        inputs: Training items, held-out targets and seed.
        folder: Folder of the cache.
        device: Where it trains.
        search: Sizes to try (None: `SEARCH`).
        budget: Length of each training (None: the default).

    Returns:
        The model, and a report of the tuning for the manifest.
    """
    search, budget = search or SEARCH, budget or Budget()
    name = f"sasrec-{inputs.cache_key(device, search, budget)[:16]}"
    path, unfinished = folder / f"{name}.safetensors", folder / f"{name}.unfinished"

    def load() -> tuple[Network, dict[str, Any]] | None:
        """The stored network and its report."""
        stored = _load_network(path, len(inputs.row_of))
        if stored is not None:
            console.note("sasrec: trained already on the same data")
        return stored

    def train() -> tuple[Network, dict[str, Any]]:
        """The same, trained and stored."""
        so_far = UnfinishedSearch.read(unfinished, len(inputs.row_of))
        if so_far.ndcg:
            console.note(f"sasrec: going on with a search that was stopped ({len(so_far.ndcg)} networks trained)")
        network, report = _search_sizes(inputs, device, search, budget, so_far)
        _store_network(path, network, report)
        unfinished.unlink(missing_ok=True)
        return network, report

    network, report = processes.made_by_first(path, load, train)
    return SASRec(network.to(device)), report


def _store_network(path: Path, network: Network, report: Mapping[str, Any]) -> None:
    """Write what `_load_network` reads."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, temporary)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(report, sort_keys=True), "utf-8")


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


def _search_sizes(
    inputs: SASRecInputs, device: torch.device, search: SizeSearch, budget: Budget, so_far: UnfinishedSearch
) -> tuple[Network, dict[str, Any]]:
    """Train networks of several sizes, and the best one again if it has not seen all training items."""
    held_out, items = inputs.targets(), len(inputs.row_of)
    longest = int(UserLists.of(inputs.tuning_train).lengths.max(initial=1)) - 1
    search = search.within(longest)
    last = search.grid["length"][-1]
    ends = {**ENDS, "length": (last,) if last >= longest else ()}

    def ndcg_of(size: Size) -> float:
        """NDCG of a network of this size after its best epoch."""
        if size not in so_far.ndcg:
            sequences = training_sequences(inputs.tuning_train, inputs.row_of, size.length)
            network, epochs, ndcg = train_network(
                sequences, items, size, budget, held_out=held_out, seed=inputs.seed, device=device
            )
            so_far.add(size, epochs, ndcg, network, keep=ndcg > so_far.best() * (1 + search.gain))
        return so_far.ndcg[size]

    chosen, measured, is_complete = climb_settings(search.start, search.grid, ndcg_of, search.trainings, search.gain)
    assert so_far.network is not None
    network, epochs = so_far.network, so_far.epochs[chosen]
    train_again = inputs.tuning_train != inputs.train
    if train_again:
        sequences = training_sequences(inputs.train, inputs.row_of, chosen.length)
        best_epochs = replace(budget, epochs=epochs)
        network, _, _ = train_network(
            sequences, items, chosen, best_epochs, held_out=None, seed=inputs.seed, device=device
        )
    return network, {
        "chosen": asdict(chosen),
        "epochs": epochs,
        f"ndcg@{CUT_OFF}": measured[chosen],
        "settings_tried": so_far.settings_tried(measured, f"ndcg@{CUT_OFF}"),
        "at_most_settings": search.trainings,
        "least_gain": search.gain,
        "grid": {name: list(values) for name, values in search.grid.items()},
        "at_edge": settings_at_edge(chosen, search.grid, ends),
        "neighbours_all_tried": is_complete,
        "at_most_epochs": budget.epochs,
        "patience": budget.patience,
        "batch_size": budget.batch_size,
        "learning_rate": budget.learning_rate,
        "loss_dtype": str(loss_dtype(device)).removeprefix("torch."),
        "held_out_targets": len(inputs.held_out),
        "held_out_targets_used": len(held_out.targets),
        "trained_again_on_all": train_again,
    }
