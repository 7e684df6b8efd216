"""Training of one `sasrec` network, stopped early by NDCG@10 on held-out items.

This is a plain loop and not `transformers.Trainer`. Under torchrun the first process alone trains the network, where a
Trainer would wait for the others, and the network is no language model.

`gti_cli.baselines.sasrec_tuning` calls `train_network` once for each setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gti_cli import console
from gti_cli.baselines.base import target_ranks
from gti_cli.baselines.catalogue_loss import catalogue_loss
from gti_cli.baselines.sasrec import Network, SASRec, Size, batch_of
from gti_cli.checkpoints.devices import choose_training_dtype
from gti_cli.metrics.ranking import join_ranks, ndcg_at
from gti_cli.tables.arrays.ragged import places_in_lists
from gti_cli.tables.arrays.user_lists import UserLists

CUT_OFF = 10
_PADDED_TOGETHER = 16  # Sequences of a step that are filled up to one length.
_USERS_AT_ONCE = 256  # Held-out users scored at a time.


@dataclass(frozen=True)
class Budget:
    """The length of the training and its optimizer.

    Attributes:
        epochs: Most epochs.
        patience: Epochs without a better NDCG@10 after which the training stops.
        batch_size: Sequences in a step.
        learning_rate: Learning rate of Adam.
    """

    epochs: int = 100
    patience: int = 5
    batch_size: int = 128
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class HeldOutTargets:
    """Held-out targets by which a network is judged.

    Attributes:
        histories: Catalogue rows of each user's history.
        targets: Catalogue row of each user's target.
        filter_seen: Do not recommend the items of a user's own history.
    """

    histories: list[list[int]]
    targets: list[int]
    filter_seen: bool

    def ndcg(self, network: Network) -> float:
        """Mean NDCG@10 of a network."""
        model, ranks = SASRec(network), []
        # Users with histories of similar length together: otherwise one long history would fill up those of its batch.
        order = sorted(range(len(self.histories)), key=lambda user: len(self.histories[user]))
        for start in range(0, len(order), _USERS_AT_ONCE):
            part = order[start : start + _USERS_AT_ONCE]
            histories, targets = [self.histories[user] for user in part], [self.targets[user] for user in part]
            ranks.append(target_ranks(model.scores(histories), histories, targets, filter_seen=self.filter_seen))
        return float(ndcg_at(join_ranks(ranks), CUT_OFF).mean())


class CutSequences(Sequence[list[int]]):
    """Training histories cut into sequences; each is made into a list when it is asked for.

    Attributes:
        rows: (M,) int32 catalogue rows, one user behind the other.
        starts: (S,) int64. Sequence n is ``rows[starts[n] : ends[n]]``.
        ends: (S,) int64.
    """

    def __init__(self, rows: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
        """Take the arrays; see the attributes."""
        self.rows, self.starts, self.ends = rows, starts, ends

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.rows[self.starts[number] : self.ends[number]].tolist()


def training_sequences(train: Mapping[str, Sequence[str]], row_of: Mapping[str, int], length: int) -> CutSequences:
    """Cut training histories into sequences that a network can see.

    A sequence has at most ``length`` + 1 items, and the next one begins with its last item. So every item but a user's
    first is a target exactly once.

    Args:
        train: Items of each user, in time order.
        row_of: Catalogue row of each item id.
        length: Number of items that the network sees.

    Returns:
        Catalogue rows of each sequence, at least two.
    """
    lists = UserLists.of(train)
    counts = np.maximum(-(-(lists.lengths - 1) // length), 0)  # sequences of each user
    starts = np.repeat(lists.offsets[:-1], counts) + places_in_lists(counts) * length
    ends = np.minimum(starts + length + 1, np.repeat(lists.offsets[1:], counts))
    return CutSequences(lists.rows(row_of), starts, ends)


def loss_dtype(device: torch.device) -> torch.dtype:
    """Number format of the products with the item vectors in the loss, the largest part of a step.

    It is bfloat16 where the machine has instructions for it, otherwise float32; all else is float32 everywhere.
    """
    return choose_training_dtype("auto", device)[0]


def train_network(
    sequences: Sequence[Sequence[int]],
    items: int,
    size: Size,
    budget: Budget,
    *,
    held_out: HeldOutTargets | None,
    seed: int,
    device: torch.device,
) -> tuple[Network, int, float]:
    """Train one network.

    Args:
        sequences: From `training_sequences`.
        items: Number of items in the catalogue.
        size: Width, depth and dropout of the network.
        budget: Length of the training.
        held_out: Targets for early stopping. None: the training runs for all epochs.
        seed: Seed of the weights, the dropout and the order of the sequences.
        device: Where it trains.

    Returns:
        The network of the best epoch, the number of that epoch (from 1), and its NDCG@10. Without ``held_out`` these
        are the network of the last epoch, its number, and 0.
    """
    torch.manual_seed(seed)
    network = Network(items, size).to(device)
    fused = device.type in ("cpu", "cuda")
    optimizer = torch.optim.Adam(network.parameters(), lr=budget.learning_rate, betas=(0.9, 0.98), fused=fused)
    order = np.random.default_rng(seed)
    best: tuple[float, int, dict[str, torch.Tensor]] = (-1.0, 0, {})
    with console.progress(f"sasrec, width {size.hidden}, dropout {size.dropout}", budget.epochs, "epochs") as advance:
        for epoch in range(1, budget.epochs + 1):
            _train_epoch(network, optimizer, sequences, order.permutation(len(sequences)), budget.batch_size)
            advance()
            if held_out is None:
                continue
            value = held_out.ndcg(network)
            if value > best[0]:
                best = (value, epoch, {name: t.detach().clone() for name, t in network.state_dict().items()})
            elif epoch - best[1] >= budget.patience:
                break
    if held_out is None:
        return network, budget.epochs, 0.0
    network.load_state_dict(best[2])
    return network, best[1], best[0]


def _train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    sequences: Sequence[Sequence[int]],
    order: npt.NDArray[np.int64],
    batch_size: int,
) -> None:
    """Take a step on each batch of the sequences in some order."""
    network.train()
    device = network.items.weight.device
    rounds = loss_dtype(device) == torch.bfloat16
    for start in range(0, len(order), batch_size):
        batch = [sequences[number] for number in order[start : start + batch_size].tolist()]
        states, targets = states_and_targets(network, batch, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=rounds):
            loss = catalogue_loss(states, network.items.weight, targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def states_and_targets(
    network: Network, sequences: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the network over a batch, and pair each hidden state with the item that comes next.

    Sequences of similar length go through the network together: otherwise one long sequence would have the whole batch
    filled up to its length.

    Args:
        network: The network to run; gradients are recorded.
        sequences: Catalogue rows, at least two each.
        device: Device of the network.

    Returns:
        (m, hidden) states after every item but the last of each sequence, and (m,) int64 next items.
    """
    ordered = sorted(sequences, key=len)
    batches = [
        batch_of(ordered[start : start + _PADDED_TOGETHER], device)
        for start in range(0, len(ordered), _PADDED_TOGETHER)
    ]
    # One look at the table for all: the gradient of each is a matrix as large as the table.
    vectors = network.items(torch.cat([rows[:, :-1].reshape(-1) for rows, _ in batches]))
    states, targets, start = [], [], 0
    for rows, lengths in batches:
        places = len(rows) * (rows.shape[1] - 1)
        own = vectors[start : start + places].view(len(rows), -1, vectors.shape[1])
        start += places
        # True where the item is followed by another one of its sequence, not by padding.
        has_next = torch.arange(rows.shape[1] - 1, device=device) < lengths[:, None] - 1
        states.append(network.states(own, lengths - 1)[has_next])
        targets.append(rows[:, 1:][has_next])
    return torch.cat(states), torch.cat(targets)
