"""Runs the baselines of `gti evaluate` for users: fits them, tunes them, and evaluates them as the model is evaluated.

A baseline learns from the training part, as the model did. Its settings are chosen on held-out items that are not
reported. Where test items are evaluated, these are the validation items. Where validation items are evaluated, each
user's last training item is held out, and left out of the training while settings are chosen. For either target the
baseline sees the whole history before it, as the model does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.evaluation.baselines.base import Baseline, rank_all_items, train_counts
from gti_cli.evaluation.baselines.cache import cache_path, load_results, store_results
from gti_cli.evaluation.baselines.item_knn import ItemKNN
from gti_cli.evaluation.baselines.item_knn_tuning import tune
from gti_cli.evaluation.baselines.popularity import Popularity
from gti_cli.evaluation.baselines.results import BaselineResult
from gti_cli.evaluation.metrics.ranking import averages, list_metrics, per_user
from gti_cli.tables.histories import History, Splits

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Setting:
    """The data and options that baselines are evaluated with.

    Attributes:
        splits: The interactions, divided into training, validation and test.
        part: Part that is evaluated, ``test`` or ``valid``.
        entries: Histories and targets of that part that are evaluated.
        row_of: Catalogue row of each item id.
        ks: Cut-offs.
        filter_seen: Do not recommend seen items.
        seed: Seed of the training.
        device: Where a network trains.
        cache: Folder in which results are cached.
    """

    splits: Splits
    part: str
    entries: Sequence[History]
    row_of: Mapping[str, int]
    ks: Sequence[int]
    filter_seen: bool
    seed: int
    device: torch.device
    cache: Path

    def cache_key(self) -> list[Any]:
        """All that affects the results of a baseline without training, as a JSON value."""
        parts = (self.splits.valid, self.entries)
        histories = [[(entry.user_id, entry.items, entry.target) for entry in part] for part in parts]
        return [
            list(self.splits.train.items()),
            *histories,
            self.part,
            list(self.row_of),
            list(self.ks),
            self.filter_seen,
        ]


def evaluate_baselines(names: Sequence[str], setting: Setting) -> tuple[dict[str, BaselineResult], dict[str, Any]]:
    """Evaluate baselines, or read their results from the cache.

    Args:
        names: Names of the baselines. ``item-knn`` gives two results, ``item-knn (untuned)`` and ``item-knn``.
        setting: Data and options.

    Returns:
        The results by name, and for each tuned baseline a report of the tuning.
    """
    tuning_train, held_out = _tuning_split(setting)
    if not held_out and set(names) - {"popularity"}:
        console.warn("there are no held-out items to tune baselines on: sasrec and the tuned item-knn are left out")
    key = setting.cache_key()
    results: dict[str, BaselineResult] = {}
    reports: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        if name == "sasrec" and not held_out:
            continue
        training_key = [setting.seed, setting.device.type, *_sasrec_key()] if name == "sasrec" else []
        path = cache_path(setting.cache, name, [key, training_key])
        cached = load_results(path)
        if cached is None:
            baselines, report = _fit(name, setting, tuning_train, held_out)
            cached = {baseline.name: _evaluate(baseline, setting) for baseline in baselines}, report
            store_results(path, *cached)
        else:
            console.note(f"{name}: evaluated already on the same users")
        results |= cached[0]
        if cached[1] is not None:
            reports[name] = cached[1]
    return results, reports


def _sasrec_key() -> list[Any]:
    """The part of the cache key that covers the training of sasrec."""
    from gti_cli.evaluation.baselines import sasrec_tuning
    from gti_cli.evaluation.baselines.sasrec_training import Budget

    return [[asdict(size) for size in sasrec_tuning.GRID], asdict(Budget()), sasrec_tuning.TARGETS]


def _tuning_split(setting: Setting) -> tuple[Mapping[str, list[str]], Sequence[History]]:
    """The training items while settings are chosen, and the held-out targets that they are chosen by."""
    train = setting.splits.train
    return (train, setting.splits.valid) if setting.part == "test" else hold_out_last(train)


def hold_out_last(train: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], list[History]]:
    """Hold out the last training item of every user who has more than one.

    Args:
        train: Items of each user, in time order.

    Returns:
        The remaining items of each user, and the held-out targets.
    """
    remaining = {user: items[:-1] if len(items) > 1 else items for user, items in train.items()}
    return remaining, [History(user, items[:-1], items[-1]) for user, items in train.items() if len(items) > 1]


def _fit(
    name: str, setting: Setting, tuning_train: Mapping[str, list[str]], held_out: Sequence[History]
) -> tuple[list[Baseline], dict[str, Any] | None]:
    """The fitted baseline, or its untuned and tuned form, and a report of the tuning."""
    train, row_of = setting.splits.train, setting.row_of
    if name == "popularity":
        return [Popularity(train, row_of)], None
    if name == "item-knn":
        untuned = ItemKNN(train, row_of)
        if not held_out:
            return [untuned], None
        outcome = tune(tuning_train, held_out, row_of, filter_seen=setting.filter_seen)
        return [untuned, ItemKNN(train, row_of, outcome.best, "item-knn")], outcome.report()
    from gti_cli.evaluation.baselines.sasrec_tuning import SASRecInputs, tune_sasrec

    inputs = SASRecInputs(train, tuning_train, held_out, row_of, setting.filter_seen, setting.seed)
    model, report = tune_sasrec(inputs, setting.cache, setting.device)
    return [model], report


def _evaluate(baseline: Baseline, setting: Setting) -> BaselineResult:
    counts = train_counts(setting.splits.train, setting.row_of)
    ranks, lists = rank_all_items(
        baseline,
        setting.entries,
        setting.row_of,
        filter_seen=setting.filter_seen,
        k=min(setting.ks[-1], len(setting.row_of)),
    )
    values = per_user(ranks, setting.ks)
    return BaselineResult({**averages(values), **list_metrics(lists, setting.ks, counts)}, values)
