"""`gti evaluate BLEND`: a blend, measured and written like a checkpoint, and what each member adds to it.

Beside the figures of the blend stand those of the same blend fitted without each member, on the same targets.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.blends.candidate_table import best_of_each, rank_targets
from gti_cli.blends.fit import Blend, MemberScores
from gti_cli.blends.stored_blend import BlendSource, OpenBlend, find_blend
from gti_cli.checkpoints.devices import choose_device, choose_dtype, describe, seed_everything
from gti_cli.decoding.ranked_items import ItemLists
from gti_cli.errors import InputError
from gti_cli.evaluation.cold_start import find_held_out, recorded_split, unseen_detail
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.evaluation.plot import remove_pictures
from gti_cli.evaluation.user_results import (
    EvaluatedUsers,
    Surroundings,
    divide_ranks,
    read_users,
    write_user_results,
)
from gti_cli.metrics.intervals import differences
from gti_cli.metrics.ranking import TargetRanks, averages, join_ranks, per_user
from gti_cli.options import RunOptions
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import StageRun, Workspace, check_output_name, processes
from gti_cli.workspace.inputs import is_other_input
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    import torch

Ints = npt.NDArray[np.int64]

USERS_AT_ONCE = 1 << 14  # Users whose candidates are in memory at a time.
_SHOWN = ("recall@", "ndcg@", "mrr")  # Precision@K is Recall@K divided by K.


@dataclass(frozen=True)
class _Outcome:
    """Lists and ranks of all users.

    Attributes:
        lists: Recommended items.
        ranks: Ranks of the targets.
        ranks_without: For each member, the ranks under the blend without it.
        candidates: Number of candidates of all users together.
        found: Number of targets among the candidates.
    """

    lists: ItemLists
    ranks: TargetRanks
    ranks_without: dict[str, TargetRanks]
    candidates: int
    found: int


def evaluate_blend(
    space: Workspace,
    blend: str,
    interactions: Path | str,
    options: EvaluateOptions,
    reading: InteractionOptions,
    name: str | None,
    run_options: RunOptions,
) -> Manifest:
    """Evaluate a blend on users.

    Args:
        space: The workspace.
        blend: Name of the blend.
        interactions: Table of interactions.
        options: As given.
        reading: How the table is read.
        name: Name of the output below ``evaluation/`` (None: the blend's).
        run_options: Seed, device, and whether to replace or resume.

    Raises:
        InputError: When an option does not apply to a blend, or the blend cannot be used.
    """
    options = replace(options, k=tuple(options.ks))
    options.check()
    _refuse_search_options(options)
    check_output_name(name or blend, default=blend)
    source = find_blend(space, blend)
    device = choose_device(run_options.device)
    dtype = choose_dtype(run_options.dtype, device)
    held = find_held_out(space.path(blend), is_wanted=options.hold_out_items)
    evaluated = read_users(interactions, source.catalogue, options, reading, run_options.seed, held)
    _warn(source, options, interactions, reading)
    artifact = f"evaluation/{name or blend}"
    with space.stage(
        "evaluate",
        artifact,
        [artifact],
        options={
            **_recorded_options(options, run_options.seed, dtype),
            **recorded_split(held),
            **reading.recorded(),
        },
        # The table of semantic IDs may grow (`gti build-ids --reuse`) without another identity.
        inputs={"interactions": interactions, "semantic_ids": space.path("semantic_ids.parquet")},
        upstream={"semantic_ids": source.ids, blend: source.manifest},
        seed=run_options.seed,
        force=run_options.force,
        resume=run_options.resume,
    ) as run:
        if not run.done:
            seed_everything(run_options.seed)
            run.device = describe(device)
            run.counts["not_drawn"] = evaluated.not_drawn
            run.details.update(unseen_detail(space.path(blend), held))
            around = Surroundings(space, source.catalogue, options, run_options.seed, device)
            _run(source, around, evaluated, dtype, run, run.path(artifact))
            remove_pictures(space, artifact)
    return run.result()


def _recorded_options(options: EvaluateOptions, seed: int, dtype: torch.dtype) -> dict[str, Any]:
    """The options of the manifest that do not depend on the table."""
    return {
        **({} if options.sample is None else {"sample": options.sample, "sample_seed": seed}),
        "split": options.split,
        "k": options.ks,
        "dtype": str(dtype).removeprefix("torch."),
        "filter_seen": options.filter_seen,
        "baselines": list(options.baselines),
    }


def _refuse_search_options(options: EvaluateOptions) -> None:
    if processes.world() > 1:
        raise InputError("a blend is evaluated in one process", remedy="start it without torchrun")
    given = [
        flag
        for flag, is_given in {
            "--search exact": options.search != "beam",
            "--beams": options.beams is not None,
            "--history": options.history is not None,
        }.items()
        if is_given
    ]
    if given:
        raise InputError(
            f"{given[0]} is about the search of a checkpoint, and a blend has lists as long as it was fitted with",
            remedy="leave it out, or give 'gti blend' another --list-length",
        )


def _warn(source: BlendSource, options: EvaluateOptions, interactions: Path | str, reading: InteractionOptions) -> None:
    """Say where the figures are not those of a blend under the conditions that it was fitted for."""
    name = source.manifest.name
    if options.filter_seen != source.stored.filter_seen:
        fitted = "with" if source.stored.filter_seen else "without"
        console.warn(f"{name} was fitted {fitted} --filter-seen: its weights may not be the best ones here")
    if options.split == "valid":
        console.warn(f"the weights of {name} were chosen on validation targets: these figures are too good")
    if is_other_input(source.manifest, "interactions", interactions):
        console.warn(
            f"{name} was fitted to another table of interactions than {interactions}: its baselines may have been "
            "trained on targets"
        )
    elif source.manifest.options.get("duplicates") != reading.recorded().get("duplicates"):
        console.warn(f"{name} was fitted with another --duplicates: its baselines may have been trained on targets")
    for member, checkpoint in source.checkpoints.items():
        if is_other_input(checkpoint.known_manifest, "interactions", interactions):
            console.warn(
                f"{member} was fine-tuned on another table of interactions than {interactions}: targets may have been "
                "trained on"
            )


def _run(
    source: BlendSource,
    around: Surroundings,
    evaluated: EvaluatedUsers,
    dtype: torch.dtype,
    run: StageRun,
    folder: Path,
) -> None:
    """Ask the members, rank, and write everything."""
    opened = source.open(around.device, dtype, around.options.batch_size)
    outcome = _rank(opened, around, evaluated, run.scratch)
    first = len(evaluated.entries)  # What members add is said of the targets that the main figures are about.
    values = per_user(divide_ranks(outcome.ranks, first)[0], around.options.ks)
    without: dict[str, Any] = {}
    for member, ranks in outcome.ranks_without.items():
        own = per_user(divide_ranks(ranks, first)[0], around.options.ks)
        compared = {metric: column for metric, column in values.items() if metric.startswith(_SHOWN)}
        found = differences(compared, own, evaluated.users)
        without[member] = {
            "metrics": averages(own),
            "differences": {metric: asdict(difference) for metric, difference in found.items()},
        }
    run.metrics["without"] = without
    run.counts.update(
        semantic_ids=len(np.unique(source.catalogue.codes, axis=0)),
        list_length=max(opened.stored.list_length, around.options.ks[-1]),
        candidates=outcome.candidates,
        targets_among_candidates=outcome.found,
    )
    write_user_results(around, evaluated, outcome.lists, outcome.ranks, run, folder)


def _rank(opened: OpenBlend, around: Surroundings, evaluated: EvaluatedUsers, scratch: Path) -> _Outcome:
    """Rank every user's candidates by the blend, and by the blend without each member."""
    row_of, options = around.catalogue.row_of(), around.options
    lists: list[ItemLists] = []
    ranks: list[TargetRanks] = []
    ranks_without: dict[str, list[TargetRanks]] = {member: [] for member in opened.stored.without}
    candidates = found = 0
    entries = evaluated.ranked
    for start in range(0, len(entries), USERS_AT_ONCE):
        part = entries[start : start + USERS_AT_ONCE]
        histories, targets = list(part.histories(row_of)), part.rows(row_of)
        said = opened.ask(
            histories, filter_seen=options.filter_seen, k=options.ks[-1], folder=scratch / f"users-{start}"
        )
        lists.append(_lists(opened.stored.blend, said, options.ks[-1]))
        ranks.append(_ranks(opened.stored.blend, said, targets))
        for member, blend in opened.stored.without.items():
            ranks_without[member].append(_ranks(blend, said.of_members(blend.members), targets))
        candidates += len(said.candidates.rows)
        found += int((said.candidates.places_of(targets) >= 0).sum())
    joined = {member: join_ranks(parts) for member, parts in ranks_without.items()}
    return _Outcome(ItemLists.joined(lists), join_ranks(ranks), joined, candidates, found)


def _ranks(blend: Blend, said: MemberScores, targets: Ints) -> TargetRanks:
    return rank_targets(blend.scores(said), said.candidates, said.candidates.places_of(targets))


def _lists(blend: Blend, said: MemberScores, k: int) -> ItemLists:
    return ItemLists.of_table(*best_of_each(blend.scores(said), said.candidates, k))
