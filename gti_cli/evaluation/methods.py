"""The baselines of `gti evaluate` by name: made, tuned, ranked, and averaged as the model is.

What each learns from is what the model learned from: the training part. Values are chosen on held-out items that are
not reported: the validation items where test items are evaluated; where validation items are, each user's last training
item, which is then held out of what is counted. Both see the whole history before a target, as the model does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.evaluation.baselines import Baseline, rank_targets, train_counts
from gti_cli.evaluation.item_knn import ItemKNN
from gti_cli.evaluation.item_knn_tuning import tune, without_last
from gti_cli.evaluation.metrics import averages, of_lists, per_user
from gti_cli.evaluation.popularity import Popularity
from gti_cli.histories.splits import History, Splits

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Setting:
    """What the baselines are evaluated on.

    Attributes:
        splits: the interactions. part: ``test`` or ``valid``. entries: the users of that part. row_of: item id ->
            catalogue row. ks: cut-offs. filter_seen: as for the model.
        seed, device: of what trains. cache: folder in which trained baselines are kept.
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


def evaluate_baselines(names: Sequence[str], setting: Setting) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Every baseline of ``names``: its metrics by name, and how it was tuned by name.

    ``item-knn`` gives two rows, ``item-knn`` and ``item-knn (untuned)``.
    """
    train = setting.splits.train
    tuning, held_out = (train, setting.splits.valid) if setting.part == "test" else without_last(train)
    if not held_out and set(names) - {"popularity"}:
        console.warn("there is nothing to tune baselines on: sasrec and the tuned item-knn are left out")
    made: list[Baseline] = []
    reports: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        if name == "popularity":
            made.append(Popularity(train, setting.row_of))
        elif name == "item-knn":
            made.append(ItemKNN(train, setting.row_of))
            if held_out:
                found = tune(tuning, held_out, setting.row_of, filter_seen=setting.filter_seen)
                made.append(ItemKNN(train, setting.row_of, found.how, "item-knn"))
                reports[name] = found.report()
        elif held_out:
            from gti_cli.evaluation.sasrec_training import Question, tuned_sasrec

            question = Question(train, tuning, held_out, setting.row_of, setting.filter_seen, setting.seed)
            model, reports[name] = tuned_sasrec(question, setting.cache, setting.device)
            made.append(model)
    return {baseline.name: _measured(baseline, setting) for baseline in made}, reports


def _measured(baseline: Baseline, setting: Setting) -> dict[str, float]:
    counts = train_counts(setting.splits.train, setting.row_of)
    places, shown = rank_targets(
        baseline,
        setting.entries,
        setting.row_of,
        filter_seen=setting.filter_seen,
        k=min(setting.ks[-1], len(setting.row_of)),
    )
    return {**averages(per_user(places, setting.ks)), **of_lists(shown, setting.ks, counts)}
