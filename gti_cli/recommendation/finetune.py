"""Stage ``finetune``: teach a checkpoint with semantic-ID tokens to name a user's next item."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.histories.splits import read_interactions, split
from gti_cli.manifest import Manifest
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.recommendation.job import Job
from gti_cli.recommendation.options import FinetuneKeywords, FinetuneOptions
from gti_cli.recommendation.tasks import next_item
from gti_cli.training.checkpoints import check_same_ids, find_checkpoint
from gti_cli.vocabulary.tokens import code_ids
from gti_cli.workspace import Workspace, check_output_name

if TYPE_CHECKING:
    from typing_extensions import Unpack


def finetune(
    interactions: Path,
    workspace: Path = Path("gti-workspace"),
    *,
    from_: str | None = None,
    name: str = "finetuned",
    **keywords: Unpack[FinetuneKeywords],
) -> Manifest:
    """Fine-tune on users' histories: the semantic IDs so far -> the tokens of the next item and the end of the turn.

    Args:
        interactions: table of `user_id`, `item_id`, `timestamp` and optionally `split`.
        from_: checkpoint to start from (None: the workspace's ``grounded``). name: the output's folder.
        keywords: see `FinetuneOptions` and `gti_cli.options.RunOptions`. ``dtype``: ``bfloat16`` computes in it
            (``auto``: where the machine is fast at it); the weights that train are float32 in any case, and are saved
            in the number format of the checkpoint that they came from.

    Raises:
        InputError: anything about the input, the options or the workspace that the caller can mend.
    """
    refuse_unknown(keywords, FinetuneOptions, RunOptions)
    options, how = pick(FinetuneOptions, keywords), pick(RunOptions, keywords)
    options.check()
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    job, counts = _prepare(space, ids, interactions, from_, name, options, how)
    with space.stage(
        "finetune",
        name,
        [name],
        options={**options.resolved(), "dtype": "bfloat16" if job.autocast else "float32", "tasks": ["next-item"]},
        inputs={"interactions": interactions, **job.checkpoint.inputs()},
        upstream={"semantic_ids": ids, **job.checkpoint.upstream()},
        seed=how.seed,
        force=how.force,
        resume=how.resume,
        checkpoint=True,
    ) as run:
        if not run.done:
            run.counts.update(counts)
            run.details.update(job.checkpoint.manifest.details if job.checkpoint.manifest else {})
            run.details["semantic_ids"] = ids.identity
            run.details["new_tokens"] = len(job.new_tokens.names)
            run.details["new_tokens_sha256"] = job.new_tokens.digest
            from gti_cli.recommendation.train import train_and_save

            train_and_save(job, run, run.path(name))
    return run.result()


def _prepare(
    space: Workspace,
    ids: Manifest,
    interactions: Path,
    from_: str | None,
    name: str,
    options: FinetuneOptions,
    how: RunOptions,
) -> tuple[Job, dict[str, int]]:
    """Check everything that can be checked before the model is loaded."""
    from gti_cli.training.precision import choose_device, choose_training_dtype

    checkpoint = find_checkpoint(space, from_, "grounded", "gti ground")
    check_output_name(name, default="finetuned", start=checkpoint.artifact)
    new_tokens = checkpoint.new_tokens()
    check_same_ids(checkpoint, ids)
    code_ids(new_tokens, ids.details["sizes"])
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    row_of = catalogue.row_of()
    splits = split(read_interactions(interactions, row_of))
    task = next_item(
        splits,
        row_of,
        history=options.history,
        targets=options.targets,
        valid_sample=options.valid_sample,
        seed=how.seed,
    )
    place = choose_device(how.device)
    if options.validations and not task.valid:
        raise InputError("there are no validation users for --validations", remedy="mark some rows valid, or drop it")
    computed, why = choose_training_dtype(how.dtype, place)
    job = Job(
        checkpoint,
        new_tokens,
        catalogue,
        task,
        options,
        how.seed,
        ids.details["sizes"],
        place,
        autocast=str(computed) == "torch.bfloat16",
        why=why,
    )
    return job, splits.counts | task.counts
