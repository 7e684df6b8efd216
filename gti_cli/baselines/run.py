"""Runs the baselines of `gti evaluate` for users: fits them, tunes them, and evaluates them as the model is evaluated.

A baseline learns from the training part, as the model did. Its settings are chosen on held-out items that are not
reported. Where test items are evaluated, these are the validation items. Where validation items are evaluated, each
user's last training item is held out, and left out of the training while settings are chosen. For either target the
baseline sees the whole history before it, as the model does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.baselines import content_knn_tuning, item_knn_tuning
from gti_cli.baselines.base import EMBEDDINGS, Baseline, rank_all_items, train_counts
from gti_cli.baselines.cache import cache_path, load_results, store_results
from gti_cli.baselines.content_knn import ContentKNN, ItemSpace, Spread
from gti_cli.baselines.content_knn_tuning import tune_content_knn
from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.baselines.item_knn_tuning import tune
from gti_cli.baselines.popularity import Popularity
from gti_cli.baselines.results import BaselineResult
from gti_cli.baselines.stored.known_items import without_items
from gti_cli.metrics.ranking import averages, list_metrics, per_user
from gti_cli.tables.arrays.digests import digest_names, digest_targets, digest_users
from gti_cli.tables.arrays.targets import Targets, last_items
from gti_cli.tables.arrays.user_lists import UserLists
from gti_cli.tables.histories import History, Splits
from gti_cli.tensors.vector_file import VectorFile
from gti_cli.workspace.inputs import digest_input
from gti_cli.workspace.processes import one_at_a_time

if TYPE_CHECKING:
    import torch

POPULARITY, ITEM_KNN, CONTENT_KNN, SASREC = "popularity", "item-knn", "content-knn", "sasrec"
LEARN_ITEMS = (ITEM_KNN, SASREC)  # All that these know of an item of the history comes from interactions.
UNTUNED = (ITEM_KNN, CONTENT_KNN)  # These have settings to fall back to where there is nothing to tune them on.
Ints = npt.NDArray[np.int64]
NOTHING_HELD_OUT = "there are no held-out items to tune it on"


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
        embeddings: ``embeddings.safetensors`` of the workspace, which ``content-knn`` reads. None: there are none.
        others: Further targets of that part, whose figures stand beside those of ``entries``.
        cold_valid: Validation targets with items that have no training interaction. Where there are some, and test
            items are evaluated, ``content-knn`` is tuned on them alone: the others say nothing about new items.
        hidden: Ids of the items whose interactions ``splits`` lacks in training and validation.
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
    embeddings: Path | None = None
    others: Sequence[History] = ()
    cold_valid: Sequence[History] = ()
    hidden: frozenset[str] = frozenset()

    def hide(self, name: str, baseline: Baseline) -> Baseline:
        """The baseline, with hidden items left out of histories where it learns from interactions alone."""
        if name not in LEARN_ITEMS or not self.hidden:
            return baseline
        hidden = np.asarray(sorted(self.row_of[item] for item in self.hidden if item in self.row_of), dtype=np.int64)
        return without_items(baseline, hidden, len(self.row_of))

    def cache_key(self, entries: Sequence[History]) -> list[Any]:
        """All that affects the results of a baseline on some entries without training, as a JSON value."""
        parts = (self.splits.valid, entries, *([self.cold_valid] if self.hidden else []))
        return [
            digest_users(UserLists.of(self.splits.train), self.row_of),
            *(digest_targets(part, self.row_of) for part in parts),
            self.part,
            digest_names(self.row_of),
            list(self.ks),
            self.filter_seen,
            *([sorted(self.hidden)] if self.hidden else []),
        ]


@dataclass(frozen=True)
class BaselinesOutcome:
    """What an evaluation reports of its baselines.

    Attributes:
        results: By name. ``item-knn`` gives two results, ``item-knn (untuned)`` and ``item-knn``.
        others: The same for `Setting.others`; empty where there are none.
        tuning: A report of the tuning of each tuned baseline.
        left_out: Why a baseline could not be evaluated, by its name.
    """

    results: dict[str, BaselineResult]
    others: dict[str, BaselineResult]
    tuning: dict[str, Any]
    left_out: dict[str, str]


def evaluate_baselines(names: Sequence[str], setting: Setting) -> BaselinesOutcome:
    """Evaluate baselines, or read their results from the cache.

    Args:
        names: Names of the baselines.
        setting: Data and options.
    """
    left_out = find_left_out(names, setting)
    groups = [setting.entries, *([setting.others] if setting.others else [])]
    keys = [setting.cache_key(entries) for entries in groups]
    outcome = BaselinesOutcome({}, {}, {}, left_out)
    for name in dict.fromkeys(names):
        if name in left_out and not (name in UNTUNED and left_out[name] == NOTHING_HELD_OUT):
            continue
        paths = [cache_path(setting.cache, name, [key, _own_key(name, setting)]) for key in keys]
        cached = [load_results(path) for path in paths]
        if None in cached:
            # Several evaluations may run at once: the first works, the others wait and read.
            with one_at_a_time(setting.cache / f"{name}.measured"):
                cached = [load_results(path) for path in paths]
                if None in cached:
                    cached = list(_fit_and_evaluate(name, setting, paths, groups))
        else:
            console.note(f"{name}: evaluated already on the same users")
        for of_group, measured in zip((outcome.results, outcome.others), cached, strict=False):
            assert measured is not None
            of_group.update(measured[0])
            if measured[1] is not None and name not in outcome.tuning:
                outcome.tuning[name] = measured[1]
                warn_of_edges(name, measured[1])
    return outcome


def _fit_and_evaluate(
    name: str, setting: Setting, paths: Sequence[Path], groups: Sequence[Sequence[History]]
) -> Iterator[tuple[dict[str, BaselineResult], dict[str, Any] | None]]:
    """Fit a baseline, evaluate it on each group of entries, and cache the results."""
    baselines, report = fit_baseline(name, setting, for_entries=True)
    hiding = [setting.hide(name, baseline) for baseline in baselines]
    for path, entries in zip(paths, groups, strict=True):
        results = {baseline.name: _evaluate(baseline, entries, setting) for baseline in hiding}
        store_results(path, results, report)
        yield results, report


def find_left_out(names: Sequence[str], setting: Setting) -> dict[str, str]:
    """Find the baselines that cannot be evaluated, and say which and why.

    Args:
        names: Names of the baselines.
        setting: Data and options.

    Returns:
        The reason by name. With `NOTHING_HELD_OUT`, the names of `UNTUNED` stand for their tuned form alone.
    """
    has_held_out = bool(_tuning_split(setting)[1])
    reasons = {}
    for name in dict.fromkeys(names):
        if name != POPULARITY and not has_held_out:
            reasons[name] = NOTHING_HELD_OUT
        if name == CONTENT_KNN and (setting.embeddings is None or not setting.embeddings.is_file()):
            reasons[name] = f"the workspace has no embeddings of the items ({EMBEDDINGS})"
    for name, reason in reasons.items():
        is_untuned = name in UNTUNED and reason == NOTHING_HELD_OUT
        console.warn(f"{'the tuned ' if is_untuned else ''}{name} is left out: {reason}")
    return reasons


def warn_of_edges(name: str, report: Mapping[str, Any]) -> None:
    """Say which settings stopped at the end of their grid: another value might make the baseline better."""
    edges = [f"{setting} {report['chosen'][setting]:g}" for setting in report.get("at_edge", [])]
    if edges:
        console.warn(f"{name}: the best of its settings is the last that was tried: {', '.join(edges)}")


def _own_key(name: str, setting: Setting) -> list[Any]:
    """The part of the cache key that only this baseline has."""
    if name == CONTENT_KNN:
        assert setting.embeddings is not None
        return [digest_input(setting.embeddings), content_knn_tuning.GRID]
    if name == ITEM_KNN:
        return [item_knn_tuning.GRID]
    return [setting.seed, *_sasrec_key(setting.device)] if name == SASREC else []


def _sasrec_key(device: torch.device) -> list[Any]:
    """The part of the cache key that covers the training of sasrec."""
    from gti_cli.baselines import sasrec_tuning
    from gti_cli.baselines.sasrec_training import Budget

    formats = sasrec_tuning.number_formats(device)
    return [*formats, asdict(sasrec_tuning.SEARCH), asdict(Budget()), sasrec_tuning.TARGETS]


def _tuning_split(setting: Setting) -> tuple[Mapping[str, list[str]], Sequence[History]]:
    """The training items while settings are chosen, and the held-out targets that they are chosen by."""
    train = setting.splits.train
    return (train, setting.splits.valid) if setting.part == "test" else hold_out_last(train)


def hold_out_last(train: Mapping[str, list[str]]) -> tuple[Mapping[str, list[str]], Sequence[History]]:
    """Hold out the last training item of every user who has more than one.

    Args:
        train: Items of each user, in time order.

    Returns:
        The remaining items of each user, and the held-out targets.
    """
    lists = UserLists.of(train)
    owners = np.flatnonzero(lists.lengths > 1)
    places = lists.offsets[owners + 1] - 1
    kept = np.ones(len(lists.codes), dtype=bool)
    kept[places] = False
    return lists.where(kept), Targets(lists, owners, places)


def fit_baseline(
    name: str, setting: Setting, *, for_entries: bool = False
) -> tuple[list[Baseline], dict[str, Any] | None]:
    """Tune and fit a baseline that `find_left_out` does not name.

    Args:
        name: Name of the baseline.
        setting: Data and options.
        for_entries: The baseline will see no other histories than those of the setting, and need not know more.

    Returns:
        The fitted baseline, or its untuned and tuned form, and a report of the tuning.
    """
    train, row_of = setting.splits.train, setting.row_of
    tuning_train, held_out = _tuning_split(setting)
    if name == POPULARITY:
        return [Popularity(train, row_of)], None
    if name == CONTENT_KNN:
        is_cold = setting.part == "test" and setting.cold_valid
        return _fit_content_knn(setting, setting.cold_valid if is_cold else held_out)
    if name == ITEM_KNN:
        untuned = ItemKNN(train, row_of, only=_needed(setting, Neighbourhood().last) if for_entries else None)
        if not held_out:
            return [untuned], None
        outcome = tune(tuning_train, held_out, row_of, filter_seen=setting.filter_seen)
        only = _needed(setting, outcome.best.last) if for_entries else None
        return [untuned, ItemKNN(train, row_of, outcome.best, "item-knn", only)], outcome.report()
    from gti_cli.baselines.sasrec_tuning import SASRecInputs, tune_sasrec

    inputs = SASRecInputs(train, tuning_train, held_out, row_of, setting.filter_seen, setting.seed)
    model, report = tune_sasrec(inputs, setting.cache, setting.device)
    return [model], report


def _needed(setting: Setting, most: int) -> Ints | None:
    """The catalogue rows that are among the last ``most`` items of the setting's histories; None: perhaps any."""
    if setting.hidden:  # these are left out of histories, so items before them become the last ones
        return None
    parts = (setting.entries, setting.others)
    return np.unique(np.concatenate([last_items(part, most, setting.row_of) for part in parts]))


def _fit_content_knn(setting: Setting, held_out: Sequence[History]) -> tuple[list[Baseline], dict[str, Any] | None]:
    assert setting.embeddings is not None
    vectors = VectorFile(setting.embeddings)
    spread = Spread.measure(vectors)
    if not held_out:
        return [ContentKNN(ItemSpace(vectors, spread, centring=0, whitening=0))], None
    outcome = tune_content_knn(vectors, spread, held_out, setting.row_of, filter_seen=setting.filter_seen)
    best = outcome.best
    space = ItemSpace(vectors, spread, centring=best.centring, whitening=best.whitening)
    return [ContentKNN(space, best, CONTENT_KNN)], outcome.report()


def _evaluate(baseline: Baseline, entries: Sequence[History], setting: Setting) -> BaselineResult:
    counts = train_counts(setting.splits.train, setting.row_of)
    k = min(setting.ks[-1], len(setting.row_of))
    ranks, lists = rank_all_items(baseline, entries, setting.row_of, filter_seen=setting.filter_seen, k=k)
    values = per_user(ranks, setting.ks)
    return BaselineResult({**averages(values), **list_metrics(lists, setting.ks, counts)}, values)
