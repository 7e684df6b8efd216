"""The stage `gti blend`: several recommenders mixed into one, with weights chosen on validation targets.

1. `gti_cli.blending.choose_members` finds the checkpoints and baselines.
2. The baselines are tuned and fitted as in `gti evaluate`, on the training part (`_fit_baselines`).
3. `gti_cli.blends.members` asks all members for lists, and for scores of the union of these lists (`_ask`).
4. `gti_cli.blends.fit` chooses form and weights by NDCG@10 of the validation targets, once with all members and once
   without each of them (`gti_cli.blending.shares`).

Nothing of the test part is read for the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gti_cli import console, tables
from gti_cli.baselines.base import EMBEDDINGS, Baseline, train_counts
from gti_cli.baselines.run import Setting, fit_baseline, warn_of_edges
from gti_cli.baselines.stored.files import StoredBaselines, write_baselines
from gti_cli.blending.choose_members import ChosenMembers, choose_members
from gti_cli.blending.options import ALL, BlendKeywords, BlendOptions
from gti_cli.blending.shares import FittedBlends, fit_with_and_without
from gti_cli.blending.targets import FittingData, check_tuning, choose_targets
from gti_cli.blends.fit import MemberScores
from gti_cli.blends.language_model import LanguageModel, ModelSetting
from gti_cli.blends.members import BaselineMember, Member, ask_members
from gti_cli.blends.stored_blend import BASELINES_FILE, BLEND_FILE, COMMAND, MemberRecord, StoredBlend, inputs_of
from gti_cli.checkpoints.devices import choose_device, choose_dtype, describe, seed_everything
from gti_cli.errors import InputError
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.tables import SemanticIDs
from gti_cli.tables.cold_start.held_out_items import DETAIL
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.tables.histories import read_interactions
from gti_cli.workspace import StageRun, Workspace, check_output_name, processes
from gti_cli.workspace.inputs import is_other_input
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

DEFAULT_NAME = "blend"


@dataclass(frozen=True)
class _Inputs:
    """What a blend is fitted to.

    Attributes:
        space: The workspace.
        ids: Manifest of its semantic IDs.
        catalogue: All items with their semantic IDs.
        members: The members.
        data: The interactions, and the validation targets that are used.
        options: The options.
        seed: Seed of the training of a baseline and of the folds.
        device: Where networks run.
        dtype: Number format of language models.
    """

    space: Workspace
    ids: Manifest
    catalogue: SemanticIDs
    members: ChosenMembers
    data: FittingData
    options: BlendOptions
    seed: int
    device: torch.device
    dtype: torch.dtype


def blend(
    of: Sequence[str],
    interactions: Path | str,
    workspace: Path | str = Path("gti-workspace"),
    *,
    name: str = DEFAULT_NAME,
    **keywords: Unpack[BlendKeywords],
) -> Manifest:
    """Mix checkpoints and baselines into one recommender, which `evaluate` and `recommend` take like a checkpoint.

    Args:
        of: At least two members: checkpoints of the workspace (or their folders), and baselines of
            `gti_cli.blending.options.BASELINES`.
        interactions: Table of interactions, the one that `finetune` read.
        workspace: Folder of the workspace.
        name: Name of the blend in the workspace.
        **keywords: See `BlendOptions`, `InteractionOptions` and `gti_cli.options.RunOptions`.

    Returns:
        The manifest of the blend.

    Raises:
        InputError: When a member is unknown or does not fit the semantic IDs, or there are no validation targets.
    """
    refuse_unknown(keywords, BlendOptions, InteractionOptions, RunOptions)
    options, run_options = pick(BlendOptions, keywords), pick(RunOptions, keywords)
    reading = pick(InteractionOptions, keywords)
    options.check()
    reading.check()
    if processes.world() > 1:
        raise InputError("gti blend runs in one process", remedy="start it without torchrun")
    (table,) = tables.locate_all([interactions], run_options.columns)
    assert table is not None
    inputs = _read(Workspace(workspace), of, table, options, reading, run_options, name)
    upstream, outside = inputs_of(inputs.members.checkpoints)
    with inputs.space.stage(
        COMMAND,
        name,
        [name],
        options=_recorded_options(inputs, reading),
        inputs={"interactions": table, **outside},
        upstream={"semantic_ids": inputs.ids, **upstream},
        seed=run_options.seed,
        force=run_options.force,
        resume=run_options.resume,
        checkpoint=True,
    ) as run:
        if not run.done:
            seed_everything(run_options.seed)
            run.device = describe(inputs.device)
            _make(inputs, run, run.path(name))
    return run.result()


def _read(
    space: Workspace,
    of: Sequence[str],
    table: Path | str,
    options: BlendOptions,
    reading: InteractionOptions,
    run_options: RunOptions,
    name: str,
) -> _Inputs:
    """Find the members and read the tables, with all that can be refused before anything is computed."""
    ids = space.require("semantic_ids", "gti build-ids")
    members = choose_members(space, of, ids)
    check_output_name(name, default=DEFAULT_NAME)
    if name in members.names:
        raise InputError(f"--name {name!r} is one of the members", remedy="give the blend another name")
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    if options.targets != ALL and members.held_out is None:
        raise InputError(
            f"--targets {options.targets} is about items that the members never saw, and there are none",
            remedy="train the members with 'gti finetune --hold-out-items 0.1', or leave it out",
        )
    interactions = read_interactions(table, catalogue.row_of(), options=reading)
    data = choose_targets(interactions, members.held_out, options, table)
    check_tuning(members.baselines, data)
    _warn_of_other_tables(members, table)
    device = choose_device(run_options.device)
    dtype = choose_dtype(run_options.dtype, device)
    return _Inputs(space, ids, catalogue, members, data, options, run_options.seed, device, dtype)


def _recorded_options(inputs: _Inputs, reading: InteractionOptions) -> dict[str, Any]:
    """The options of the manifest."""
    options = inputs.options
    return {
        "of": list(inputs.members.names),
        "sample": options.sample,
        "list_length": options.list_length,
        "filter_seen": options.filter_seen,
        **({"targets": options.targets} if options.targets != ALL else {}),
        "dtype": str(inputs.dtype).removeprefix("torch."),
        **reading.recorded(),
    }


def _warn_of_other_tables(members: ChosenMembers, interactions: Path | str) -> None:
    """Warn of checkpoints that may have been trained on the targets by which the weights are chosen."""
    for name, found in members.checkpoints.items():
        if is_other_input(found.known_manifest, "interactions", interactions):
            console.warn(
                f"{name} was fine-tuned on another table of interactions than {interactions}: it may have been trained "
                "on validation targets, and would get too large a weight then"
            )


def _make(inputs: _Inputs, run: StageRun, folder: Path) -> None:
    """Fit the blend and write its files, and put its figures into the run."""
    baselines, tuning = _fit_baselines(inputs)
    row_of = inputs.catalogue.row_of()
    counts = train_counts(inputs.data.splits.train, row_of)
    said = _ask(inputs, baselines, counts, run.scratch)
    targets = np.asarray([row_of[entry.target] for entry in inputs.data.entries], dtype=np.int64)
    with console.progress("Choosing weights", len(said.members) + 1, "blends") as advance:
        users = [entry.user_id for entry in inputs.data.entries]
        fitted = fit_with_and_without(said, targets, users, seed=inputs.seed, advance=advance)
    folder.mkdir(parents=True)
    records = tuple(
        MemberRecord.of_checkpoint(name, inputs.members.checkpoints[name])
        if name in inputs.members.checkpoints
        else MemberRecord(name)
        for name in said.members
    )
    options = inputs.options
    StoredBlend(fitted.blend, fitted.without, records, options.list_length, options.filter_seen).write(
        folder / BLEND_FILE
    )
    write_baselines(folder / BASELINES_FILE, StoredBaselines(baselines, counts), inputs.catalogue.item_ids)
    if inputs.data.held_out is not None:
        inputs.data.held_out.write(folder)
        run.details[DETAIL] = inputs.data.held_out.recorded()
    _record(inputs, run, said, targets, fitted, tuning)


def _fit_baselines(inputs: _Inputs) -> tuple[dict[str, Baseline], dict[str, Any]]:
    """The tuned baselines by name, and a report of the tuning of each."""
    setting = _setting(inputs)
    baselines: dict[str, Baseline] = {}
    tuning: dict[str, Any] = {}
    for name in inputs.members.baselines:
        forms, report = fit_baseline(name, setting)
        baselines[name] = forms[-1]  # The tuned form comes last.
        if report is not None:
            tuning[name] = report
            warn_of_edges(name, report)
    return baselines, tuning


def _setting(inputs: _Inputs) -> Setting:
    """The data and options that baselines are fitted with."""
    return Setting(
        inputs.data.splits,
        "test",  # Settings are chosen on the validation items, as for an evaluation of the test items.
        inputs.data.entries,
        inputs.catalogue.row_of(),
        (10,),
        inputs.options.filter_seen,
        inputs.seed,
        inputs.device,
        inputs.space.path(".gti") / "baselines",
        inputs.space.path(EMBEDDINGS),
        cold_valid=inputs.data.cold_valid,
        hidden=inputs.data.hidden,
    )


def _ask(inputs: _Inputs, baselines: dict[str, Baseline], counts: np.ndarray, scratch: Path) -> MemberScores:
    """Ask all members about the validation targets' histories."""
    catalogue, row_of = inputs.catalogue, inputs.catalogue.row_of()
    setting = ModelSetting(
        catalogue,
        inputs.ids.details["sizes"],
        inputs.device,
        inputs.dtype,
        inputs.options.batch_size,
        inputs.space.path(EMBEDDINGS),
    )
    fitting = _setting(inputs)
    members: list[Member] = [
        LanguageModel(name, inputs.members.checkpoints[name], setting)
        if name in inputs.members.checkpoints
        else BaselineMember(name, fitting.hide(name, baselines[name]), len(row_of))
        for name in inputs.members.names
    ]
    return ask_members(
        members,
        [[row_of[item] for item in entry.items] for entry in inputs.data.entries],
        counts,
        list_length=inputs.options.list_length,
        filter_seen=inputs.options.filter_seen,
        allowed=inputs.data.allowed(row_of),
        folder=scratch,
    )


def _record(
    inputs: _Inputs,
    run: StageRun,
    said: MemberScores,
    targets: np.ndarray,
    fitted: FittedBlends,
    tuning: dict[str, Any],
) -> None:
    """Put all figures into the run, for the manifest."""
    run.details["semantic_ids"] = inputs.ids.identity
    run.metrics.update(fitted.report(), tuning=tuning)
    run.counts.update(
        inputs.data.counts,
        targets_used=len(targets),
        candidates=len(said.candidates.rows),
        targets_among_candidates=int((said.candidates.places_of(targets) >= 0).sum()),
        catalogue=len(inputs.catalogue.item_ids),
    )
