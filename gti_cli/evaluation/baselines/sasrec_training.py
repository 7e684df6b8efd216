"""How `sasrec` is trained and tuned: every setting of `GRID` with early stopping, NDCG@10 on held-out items decides.

A plain loop, not `transformers.Trainer`: under torchrun the first process alone trains it, where a Trainer would wait
for the others, and the network is no language model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gti_cli import console
from gti_cli.evaluation.baselines.base import places_of
from gti_cli.evaluation.baselines.catalogue_loss import catalogue_loss
from gti_cli.evaluation.baselines.sasrec import Network, SASRec, Size, batch_of
from gti_cli.evaluation.metrics.ranking import Ranks, ndcg_at
from gti_cli.tables.histories import History
from gti_cli.workspace.files import replacing

GRID = tuple(Size(hidden, dropout) for hidden in (64, 128) for dropout in (0.2, 0.5))
CUT_OFF = 10
TOGETHER = 16  # histories of a step that are filled up to one length
TARGETS = 4000  # held-out items measured after each epoch, evenly spread over the users


@dataclass(frozen=True)
class Budget:
    """How long to train.

    Attributes:
        epochs: at most. patience: epochs without a better NDCG@10 after which it stops. batch_size: histories a step.
        learning_rate: of Adam.
    """

    epochs: int = 100
    patience: int = 5
    batch_size: int = 128
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Held:
    """What a setting is judged by: histories and targets as catalogue rows, and whether seen items are left out."""

    histories: list[list[int]]
    targets: list[int]
    filter_seen: bool

    def ndcg(self, network: Network) -> float:
        """Mean NDCG@10."""
        model, found = SASRec(network), []
        for start in range(0, len(self.histories), 256):
            part = slice(start, start + 256)
            scores = model.scores(self.histories[part])
            found.append(places_of(scores, self.histories[part], self.targets[part], filter_seen=self.filter_seen))
        ranks = Ranks(np.concatenate([r.ahead for r in found]), np.concatenate([r.ties for r in found]))
        return float(ndcg_at(ranks, CUT_OFF).mean())


def held_of(entries: Sequence[History], row_of: Mapping[str, int], *, filter_seen: bool) -> Held:
    """`Held` of at most `TARGETS` of the entries."""
    count = min(len(entries), TARGETS)
    used = [entries[n * len(entries) // count] for n in range(count)]
    histories = [[row_of[item] for item in entry.items] for entry in used]
    return Held(histories, [row_of[entry.target] for entry in used], filter_seen)


def pieces(train: Mapping[str, Sequence[str]], row_of: Mapping[str, int], length: int) -> list[list[int]]:
    """Training histories as rows, cut into pieces of ``length`` + 1 that overlap by one: every item but a user's first
    is a target once.
    """
    found = []
    for items in train.values():
        rows = [row_of[item] for item in items]
        found += [rows[start : start + length + 1] for start in range(0, len(rows) - 1, length)]
    return found


def fit(
    sequences: Sequence[Sequence[int]],
    items: int,
    size: Size,
    budget: Budget,
    *,
    held: Held | None,
    seed: int,
    device: torch.device,
) -> tuple[Network, int, float]:
    """Train one network.

    Args:
        sequences: from `pieces`. items: N. held: what stops the training (None: it runs for ``budget.epochs``).

    Returns:
        the network of the best epoch, that epoch (from 1), and its NDCG@10 (0 without ``held``).
    """
    torch.manual_seed(seed)
    network = Network(items, size).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=budget.learning_rate, betas=(0.9, 0.98))
    order = np.random.default_rng(seed)
    best: tuple[float, int, dict[str, torch.Tensor]] = (-1.0, 0, {})
    with console.progress(f"sasrec, width {size.hidden}, dropout {size.dropout}", budget.epochs, "epochs") as advance:
        for epoch in range(1, budget.epochs + 1):
            _epoch(network, optimizer, [sequences[n] for n in order.permutation(len(sequences))], budget.batch_size)
            advance()
            if held is None:
                continue
            value = held.ndcg(network)
            if value > best[0]:
                best = (value, epoch, {name: t.detach().clone() for name, t in network.state_dict().items()})
            elif epoch - best[1] >= budget.patience:
                break
    if held is None:
        return network, budget.epochs, 0.0
    network.load_state_dict(best[2])
    return network, best[1], best[0]


def _epoch(
    network: Network, optimizer: torch.optim.Optimizer, sequences: Sequence[Sequence[int]], batch_size: int
) -> None:
    network.train()
    device = network.items.weight.device
    for start in range(0, len(sequences), batch_size):
        states, targets = states_of(network, sequences[start : start + batch_size], device)
        loss = catalogue_loss(states, network.items.weight, targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def states_of(
    network: Network, sequences: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """States (m, hidden) behind every item but the last of each sequence, and (m,) the items that come next.

    Like lengths go through the network together: one long history would have the whole batch filled up to its length.
    """
    ordered = sorted(sequences, key=len)
    states, targets = [], []
    for start in range(0, len(ordered), TOGETHER):
        rows, lengths = batch_of(ordered[start : start + TOGETHER], device)
        inside = torch.arange(rows.shape[1] - 1, device=device) < lengths[:, None] - 1
        states.append(network(rows[:, :-1], lengths - 1)[inside])
        targets.append(rows[:, 1:][inside])
    return torch.cat(states), torch.cat(targets)


@dataclass(frozen=True)
class Question:
    """What `sasrec` is to be trained on.

    Attributes:
        train: user -> items. tuning: user -> items to train on while it is tuned. held_out: targets that are not in
            ``tuning``. row_of: item id -> catalogue row. filter_seen: as in the evaluation. seed: of everything random.
    """

    train: Mapping[str, list[str]]
    tuning: Mapping[str, list[str]]
    held_out: Sequence[History]
    row_of: Mapping[str, int]
    filter_seen: bool
    seed: int

    def key(self, device: torch.device, grid: Sequence[Size], budget: Budget) -> str:
        """Digest of all that decides the outcome."""
        held = [(entry.items, entry.target) for entry in self.held_out]
        whole = [list(self.row_of), list(self.train.values()), list(self.tuning.values()), held, self.filter_seen]
        how = [self.seed, device.type, [asdict(size) for size in grid], asdict(budget), TARGETS]
        return hashlib.sha256(json.dumps([whole, how]).encode()).hexdigest()


def tuned_sasrec(
    question: Question,
    folder: Path,
    device: torch.device,
    grid: Sequence[Size] | None = None,
    budget: Budget | None = None,
) -> tuple[SASRec, dict[str, Any]]:
    """Train every setting of ``grid`` (None: `GRID`) and keep the best, in ``folder``, where it is found again.

    Where ``question.tuning`` is less than ``question.train``, the chosen setting is trained once more on all of it, for
    the number of epochs that was best.

    Returns:
        the model, and for the manifest: what was chosen and tried.
    """
    from safetensors.torch import save_file

    grid, budget = grid or GRID, budget or Budget()
    path = folder / f"sasrec-{question.key(device, grid, budget)[:16]}.safetensors"
    known = _known(path, len(question.row_of))
    if known is not None:
        console.note("sasrec: trained already on the same data")
        return SASRec(known[0].to(device)), known[1]
    network, report = _search(question, device, grid, budget)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, temporary)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(report, sort_keys=True), "utf-8")
    return SASRec(network), report


def _known(path: Path, items: int) -> tuple[Network, dict[str, Any]] | None:
    """What was trained earlier; None where it is not there, or cannot be read (then it is trained again)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        report: dict[str, Any] = json.loads(path.with_suffix(".json").read_text("utf-8"))
        network = Network(items, Size(**report["chosen"]))
        network.load_state_dict(load_file(path))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError):
        return None
    return network, report


def _search(
    question: Question, device: torch.device, grid: Sequence[Size], budget: Budget
) -> tuple[Network, dict[str, Any]]:
    held = held_of(question.held_out, question.row_of, filter_seen=question.filter_seen)
    tried: list[tuple[Size, int, float]] = []
    best: Network | None = None
    items = len(question.row_of)
    for size in grid:
        sequences = pieces(question.tuning, question.row_of, size.length)
        network, epochs, value = fit(sequences, items, size, budget, held=held, seed=question.seed, device=device)
        if best is None or value > max(other for _, _, other in tried):
            best = network
        tried.append((size, epochs, value))
    assert best is not None
    chosen, epochs, value = max(tried, key=lambda entry: entry[2])
    again = question.tuning != question.train
    if again:
        whole = pieces(question.train, question.row_of, chosen.length)
        budget = Budget(epochs, budget.patience, budget.batch_size, budget.learning_rate)
        best, _, _ = fit(whole, items, chosen, budget, held=None, seed=question.seed, device=device)
    return best, {
        "chosen": asdict(chosen),
        "epochs": epochs,
        f"ndcg@{CUT_OFF}": value,
        "settings_tried": [{**asdict(size), "epochs": n, f"ndcg@{CUT_OFF}": v} for size, n, v in tried],
        "at_most_epochs": budget.epochs,
        "patience": budget.patience,
        "batch_size": budget.batch_size,
        "learning_rate": budget.learning_rate,
        "held_out_targets": len(question.held_out),
        "held_out_targets_used": len(held.targets),
        "trained_again_on_all": again,
    }
