"""Stage ``finetune``: teach a checkpoint with semantic-ID tokens to recommend and to search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.errors import InputError
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.recommendation.job import Job
from gti_cli.recommendation.material import Material, gather
from gti_cli.recommendation.options import FinetuneKeywords, FinetuneOptions
from gti_cli.recommendation.tasks import make_tasks
from gti_cli.training.callbacks.tracking import trackers
from gti_cli.workspace import Workspace, check_output_name
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from typing_extensions import Unpack


def finetune(
    interactions: Path | str | None = None,
    workspace: Path | str = Path("gti-workspace"),
    *,
    queries: Path | str | None = None,
    from_: str | None = None,
    name: str = "finetuned",
    **keywords: Unpack[FinetuneKeywords],
) -> Manifest:
    """Fine-tune on users' histories and on queries: question -> the tokens of an item and the end of the turn.

    Args:
        interactions: table of `user_id`, `item_id`, `timestamp` and optionally `split`; for LC-Rec's tasks also
            `intent` (what was looked for) and `preference` (what the user likes).
        queries: table of `query`, `item_id`, `relevance` and optionally `query_id`, `split`.
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
    report_to = trackers(options.report_to)
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    checkpoint = find_checkpoint(space, from_, "grounded", "gti ground")
    check_output_name(name, default="finetuned", start=checkpoint.artifact)
    check_same_ids(checkpoint, ids)
    code_ids(checkpoint.item_tokens(), ids.details["sizes"])
    material = gather(space, interactions, queries, options.tasks)
    job = _prepare(checkpoint, material, ids.details["sizes"], options, how)
    job = replace(job, name=name, report_to=report_to, logs=space.path("runs") / name)
    with space.stage(
        "finetune",
        name,
        [name],
        options={**options.resolved(material.tasks), "dtype": "bfloat16" if job.autocast else "float32"},
        inputs={"interactions": interactions, "queries": queries, **checkpoint.inputs()},
        upstream={"semantic_ids": ids, **checkpoint.upstream()},
        seed=how.seed,
        force=how.force,
        resume=how.resume,
        checkpoint=True,
    ) as run:
        if not run.done:
            run.counts.update(material.counts)
            for task in job.tasks:
                run.counts.update(task.counts)
            run.details.update(checkpoint.manifest.details if checkpoint.manifest else {})
            run.details["semantic_ids"] = ids.identity
            run.details["new_tokens"] = len(job.new_tokens.names)
            run.details["new_tokens_sha256"] = job.new_tokens.digest
            from gti_cli.recommendation.train import train_and_save

            train_and_save(job, run, run.path(name))
    return run.result()


def _prepare(
    checkpoint: Checkpoint, material: Material, sizes: list[int], options: FinetuneOptions, how: RunOptions
) -> Job:
    """Make the tasks, and check everything that can be checked before the model is loaded."""
    from gti_cli.checkpoints.devices import choose_device, choose_training_dtype
    from gti_cli.training.sharding import check_training

    place = choose_device(how.device)
    apart = options.rows_learning_rate not in (None, options.learning_rate)
    check_training(
        place,
        {
            "--lora": options.lora,
            "--rows-learning-rate": apart,
            "--validations": bool(options.validations),
            "--compile": options.compile,
        },
    )
    computed, why = choose_training_dtype(how.dtype, place)
    tokenizer, new_tokens = load_tokenizer(checkpoint.path), checkpoint.item_tokens()
    check_tokenizer(tokenizer, new_tokens)
    tasks = make_tasks(material, tokenizer, options, how.seed)
    if options.validations and not any(task.wanted for task in tasks):
        raise InputError("there is nothing to rank for --validations", remedy="mark some rows valid, or drop it")
    return Job(
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        new_tokens=new_tokens,
        material=material,
        tasks=tasks,
        options=options,
        seed=how.seed,
        sizes=sizes,
        device=place,
        autocast=str(computed) == "torch.bfloat16",
        why=why,
    )
