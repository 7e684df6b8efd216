"""The baselines of `gti evaluate` by name: made, tuned, ranked, and averaged as the model is.

What each learns from is what the model learned from: the training part. Values are chosen on held-out items that are
not reported: the validation items where test items are evaluated; where validation items are, each user's last training
item, which is then held out of what is counted. Both see the whole history before a target, as the model does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.evaluation.baselines.base import Baseline, rank_targets, train_counts
from gti_cli.evaluation.baselines.cache import Measured, keep, known, path_of
from gti_cli.evaluation.baselines.item_knn import ItemKNN
from gti_cli.evaluation.baselines.item_knn_tuning import tune, without_last
from gti_cli.evaluation.baselines.popularity import Popularity
from gti_cli.evaluation.metrics.ranking import averages, of_lists, per_user
from gti_cli.tables.histories import History, Splits

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Setting:
    """What the baselines are evaluated on.

    Attributes:
        splits: the interactions. part: ``test`` or ``valid``. entries: the users of that part. row_of: item id ->
            catalogue row. ks: cut-offs. filter_seen: as for the model.
        seed, device: of what trains. cache: folder in which baselines are kept.
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

    def told(self) -> list[Any]:
        """All that decides what a baseline reaches, as JSON can say it; `seed` and `device` matter where it trains."""
        parts = (self.splits.valid, self.entries)
        shown = [[(entry.user_id, entry.items, entry.target) for entry in part] for part in parts]
        return [list(self.splits.train.items()), *shown, self.part, list(self.row_of), list(self.ks), self.filter_seen]


def evaluate_baselines(names: Sequence[str], setting: Setting) -> tuple[dict[str, Measured], dict[str, Any]]:
    """Every baseline of ``names``, evaluated (or found, where it was before), and how it was tuned, by name.

    ``item-knn`` gives two, ``item-knn (untuned)`` and ``item-knn``.
    """
    tuning, held_out = _to_tune_on(setting)
    if not held_out and set(names) - {"popularity"}:
        console.warn("there is nothing to tune baselines on: sasrec and the tuned item-knn are left out")
    told = setting.told()
    found: dict[str, Measured] = {}
    reports: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        if name == "sasrec" and not held_out:
            continue
        trains = [setting.seed, setting.device.type, *_budget_of_sasrec()] if name == "sasrec" else []
        path = path_of(setting.cache, name, [told, trains])
        ready = known(path)
        if ready is None:
            made, report = _make(name, setting, tuning, held_out)
            ready = {baseline.name: _measured(baseline, setting) for baseline in made}, report
            keep(path, *ready)
        else:
            console.note(f"{name}: evaluated already on the same users")
        found |= ready[0]
        if ready[1] is not None:
            reports[name] = ready[1]
    return found, reports


def _budget_of_sasrec() -> list[Any]:
    from gti_cli.evaluation.baselines import sasrec_training

    return [[asdict(size) for size in sasrec_training.GRID], asdict(sasrec_training.Budget()), sasrec_training.TARGETS]


def _to_tune_on(setting: Setting) -> tuple[Mapping[str, list[str]], Sequence[History]]:
    """What a baseline learns from while it is tuned, and the held-out targets that judge it."""
    train = setting.splits.train
    return (train, setting.splits.valid) if setting.part == "test" else without_last(train)


def _make(
    name: str, setting: Setting, tuning: Mapping[str, list[str]], held_out: Sequence[History]
) -> tuple[list[Baseline], dict[str, Any] | None]:
    train, row_of = setting.splits.train, setting.row_of
    if name == "popularity":
        return [Popularity(train, row_of)], None
    if name == "item-knn":
        untuned = ItemKNN(train, row_of)
        if not held_out:
            return [untuned], None
        found = tune(tuning, held_out, row_of, filter_seen=setting.filter_seen)
        return [untuned, ItemKNN(train, row_of, found.how, "item-knn")], found.report()
    from gti_cli.evaluation.baselines.sasrec_training import Question, tuned_sasrec

    question = Question(train, tuning, held_out, row_of, setting.filter_seen, setting.seed)
    model, report = tuned_sasrec(question, setting.cache, setting.device)
    return [model], report


def _measured(baseline: Baseline, setting: Setting) -> Measured:
    counts = train_counts(setting.splits.train, setting.row_of)
    places, shown = rank_targets(
        baseline,
        setting.entries,
        setting.row_of,
        filter_seen=setting.filter_seen,
        k=min(setting.ks[-1], len(setting.row_of)),
    )
    values = per_user(places, setting.ks)
    return Measured({**averages(values), **of_lists(shown, setting.ks, counts)}, values)
