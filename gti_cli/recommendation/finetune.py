"""Stage ``finetune``: teach a checkpoint with semantic-ID tokens to recommend and to search.

The way of a user's history from the table of interactions into a batch:

1. `task_data.read_task_data` reads the table and splits each history into training, validation and test items.
2. `tasks.make_tasks` cuts the training items into history examples, which have several targets each
   (`gti_cli.training.batches.history_arrays`).
3. `examples.encode_tasks` collects them as `TaskExamples`, with the `HistoryLayout` that turns them into tokens.
4. `examples.TaskExamples.plan` decides which examples make up each step
   (`gti_cli.training.batches.mixture.MixedPlan`).
5. `gti_cli.training.trainer.PlannedTrainer` takes step after step. `ExampleCollator.collate` packs the history
   examples of a step into rows (`HistoryLayout.pack`) and makes tensors of them (`HistoryLayout.collate_rows`).
6. `gti_cli.training.answer_loss.answer_loss` computes the loss of all targets in these rows.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console, tables
from gti_cli.baselines.base import EMBEDDINGS
from gti_cli.cards.card import write_card
from gti_cli.checkpoints.configuration import check_takes_cache
from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.checkpoints.loading import translate_loading_errors
from gti_cli.checkpoints.new_tokens import code_ids
from gti_cli.errors import InputError
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.recommendation.job import FinetuneJob, prepare_job
from gti_cli.recommendation.options import FinetuneKeywords, FinetuneOptions
from gti_cli.recommendation.plot import remove_picture
from gti_cli.recommendation.task_data import read_task_data
from gti_cli.recommendation.unseen_items import check_unseen
from gti_cli.tables.cold_start.cold_splits import describe_taken_out
from gti_cli.tables.cold_start.held_out_items import DETAIL, parse_share
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.training.callbacks.tracking import trackers
from gti_cli.workspace import StageRun, Workspace, check_output_name, processes
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from typing_extensions import Unpack


def finetune(
    interactions: Path | str | None = None,
    workspace: Path | str = Path("gti-workspace"),
    *,
    queries: Path | str | None = None,
    from_: str | None = None,
    base: str | None = None,
    name: str = "finetuned",
    hold_out_items: float | str | Path | None = None,
    **keywords: Unpack[FinetuneKeywords],
) -> Manifest:
    """Fine-tune on users' histories and on queries: prompt -> the tokens of an item and the end of the turn.

    Args:
        interactions: Table of `user_id`, `item_id`, `timestamp` and optionally `split`. For LC-Rec's tasks also
            `intent` (what the user was looking for) and `preference` (what the user likes).
        workspace: Folder of the workspace.
        queries: Table of `query`, `item_id`, `relevance` and optionally `query_id`, `split`.
        from_: Checkpoint to start from, also an adapter of PEFT. None: the workspace's ``grounded``.
        base: Base model of an adapter. None: the one that it names.
        name: Folder of the output.
        hold_out_items: Items that nothing is learned about but their texts, so that `evaluate` can measure cold starts:
            a share such as 0.1, or a table, see `gti_cli.tables.cold_start.held_out_items`. The checkpoint holds the
            split. None: train on all items.
        **keywords: See `FinetuneOptions`, `InteractionOptions` and `gti_cli.options.RunOptions`. ``dtype="bfloat16"``
            computes in bfloat16 (``auto``: where the machine is fast at it). The weights that train are float32 in any
            case, and are saved in the number format of the checkpoint to start from.

    Raises:
        InputError: When the input, the options or the workspace do not fit; the message says what to change.
    """
    refuse_unknown(keywords, FinetuneOptions, InteractionOptions, RunOptions)
    options, run_options = pick(FinetuneOptions, keywords), pick(RunOptions, keywords)
    reading = pick(InteractionOptions, keywords)
    options.check()
    reading.check(reads_table=interactions is not None)
    report_to = trackers(options.report_to)
    hold_out, table = _hold_out(hold_out_items, interactions)
    interactions, queries, table = tables.locate_all([interactions, queries, table], run_options.columns)
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    checkpoint = _find_start(space, ids, from_, base, name)
    data = read_task_data(space, interactions, queries, options.tasks, reading, table if hold_out is None else hold_out)
    if data.held_out is not None:
        check_unseen(space, checkpoint, data.held_out)
        console.note(describe_taken_out(data.held_out_counts))
    folders = {
        "logs": space.path("runs") / name,
        "baselines": space.path(".gti") / "baselines",
        "embeddings": space.path(EMBEDDINGS),
    }
    job = prepare_job(
        checkpoint, data, ids.details["sizes"], options, run_options, name=name, report_to=report_to, **folders
    )
    with space.stage(
        "finetune",
        name,
        [name],
        options=_recorded_options(job, reading, hold_out),
        inputs={"interactions": interactions, "queries": queries, "hold_out_items": table, **checkpoint.inputs()},
        upstream={"semantic_ids": ids, **checkpoint.upstream()},
        seed=run_options.seed,
        force=run_options.force,
        resume=run_options.resume,
        checkpoint=True,
        describe=partial(write_card, space, _plain_model(checkpoint)),
    ) as run:
        if not run.done:
            _record_sources(job, ids, run)
            _train(job, run, run.path(name))
            if processes.rank() == 0:
                remove_picture(space, name)
    return run.result()


def _train(job: FinetuneJob, run: StageRun, folder: Path) -> None:
    """Train, and write the checkpoint with the split of its items."""
    from gti_cli.recommendation.train import train_and_save

    train_and_save(job, run, folder)
    if job.data.held_out is not None:
        job.data.held_out.write(folder)


def _find_start(space: Workspace, ids: Manifest, from_: str | None, base: str | None, name: str) -> Checkpoint:
    """Find the checkpoint to start from, and refuse one that does not fit the semantic IDs or the output's name."""
    checkpoint = find_checkpoint(space, from_, "grounded", "gti ground", adapters=True, base=base)
    check_output_name(name, default="finetuned", start=_plain_model(checkpoint).artifact)
    with translate_loading_errors(checkpoint.path):
        config = checkpoint.load_config()
    check_takes_cache(config, checkpoint.path, "start from a decoder-only language model")
    check_same_ids(checkpoint, ids)
    code_ids(checkpoint.item_tokens(), ids.details["sizes"])  # refuses a checkpoint without these tokens
    return checkpoint


def _plain_model(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint itself, or the base of an adapter."""
    return checkpoint if checkpoint.base is None else checkpoint.base


def _hold_out(
    given: float | str | Path | None, interactions: Path | str | None
) -> tuple[float | None, Path | str | None]:
    """The share or the table that ``--hold-out-items`` gives."""
    if given is None:
        return None, None
    if interactions is None:
        raise InputError(
            "--hold-out-items hides interactions with items, and there are none",
            remedy="give --interactions, or leave it out",
        )
    share = parse_share(str(given))
    return share, given if share is None and not isinstance(given, float) else None


def _recorded_options(job: FinetuneJob, reading: InteractionOptions, share: float | None) -> dict[str, Any]:
    """The options of the manifest.

    Args:
        job: The run.
        reading: How the interactions are read.
        share: The share of the items that is held out, where ``--hold-out-items`` gives one.
    """
    recorded = {**job.options.resolved(job.data.tasks), **reading.recorded()}
    if (held := job.data.held_out) is not None:
        # The digest tells one split from another.
        recorded |= {"hold_out_items": share or "table", "held_out_sha256": held.recorded()["sha256"]}
    return {**recorded, "dtype": "bfloat16" if job.autocast else "float32"}


def _record_sources(job: FinetuneJob, ids: Manifest, run: StageRun) -> None:
    """Record counts of the tables and tasks, and which checkpoint and semantic IDs the run starts from."""
    run.counts.update(job.data.counts)
    for task in job.tasks:
        run.counts.update(task.counts)
    known = job.checkpoint.known_manifest
    run.details.update(known.details if known else {})
    run.details.update(job.checkpoint.details())
    if job.options.prior == "none":
        from gti_cli.priors.stored_prior import leave_prior

        prior = run.details.get("behaviour_prior", "item-knn")
        leave_prior(job.checkpoint, run, f"and this run trains without: add --prior {prior} to go on with it")
    run.details.pop(DETAIL, None)  # what was taken over from the checkpoint to start from
    if job.data.held_out is not None:
        run.details[DETAIL] = job.data.held_out.recorded()
    run.details["semantic_ids"] = ids.identity
    run.details["new_tokens"] = len(job.new_tokens.names)
    run.details["new_tokens_sha256"] = job.new_tokens.digest
