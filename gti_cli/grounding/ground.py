"""Stage ``ground``: new tokens learn what they mean, from pairs of text and tokens, in a frozen model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.checkpoints.loading import check_same_ids, find_checkpoint
from gti_cli.checkpoints.new_tokens import NewTokens, code_ids
from gti_cli.errors import InputError
from gti_cli.grounding.distil.contexts import Phrases, read_phrases
from gti_cli.grounding.job import Job
from gti_cli.grounding.options import DISTIL, GroundKeywords, GroundOptions
from gti_cli.grounding.pairs import read_pairs
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.prompts.pairs import OURS
from gti_cli.prompts.templates import read_templates
from gti_cli.training.callbacks.tracking import trackers
from gti_cli.training.sharding import Sharding, plain_launch, requested_sharding
from gti_cli.workspace import Workspace, check_output_name
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from typing_extensions import Unpack

CODEBOOKS = "codebooks.safetensors"


def ground(
    workspace: Path | str = Path("gti-workspace"),
    *,
    pairs: Path | str | None = None,
    prompts: Path | str | None = None,
    from_: str | None = None,
    name: str = "grounded",
    **keywords: Unpack[GroundKeywords],
) -> Manifest:
    """Train the rows of the new tokens, and nothing else (arXiv 2604.02324, Algorithm 1); if asked, then all weights.

    Args:
        pairs: table of `item_id` with `title` and / or `description`, or of `text` with `tokens` (None: the items'
            own texts in the workspace). prompts: own wordings, see `prompts.templates.read_templates`.
        from_: checkpoint to start from (None: the workspace's ``extended``). name: the output's folder.
            With ``objective="distil"``: `text` (a phrase) with `tokens` and, optionally, `context`.
        keywords: see `GroundOptions` and `gti_cli.options.RunOptions`. ``dtype``: of the frozen model while it
            computes; the new rows train in float32, and all is saved in the number format of the checkpoint that it
            came from.

    Raises:
        InputError: anything about the input, the options or the workspace that the caller can mend.
    """
    refuse_unknown(keywords, GroundOptions, RunOptions)
    options, how = pick(GroundOptions, keywords), pick(RunOptions, keywords)
    options.check()
    sharding, report_to = _sharding(options), trackers(options.report_to)
    space = Workspace(workspace)
    job, ids = _prepare(space, pairs, prompts, from_, name, options, how)
    with (
        plain_launch(),
        space.stage(
            "ground",
            name,
            [name],
            options={**job.options.resolved(), "dtype": str(job.dtype).removeprefix("torch.")},
            inputs={"pairs": pairs, "prompts": prompts, **job.checkpoint.inputs()},
            upstream={**ids, **job.checkpoint.upstream()},
            seed=how.seed,
            force=how.force,
            resume=how.resume,
            checkpoint=True,
        ) as run,
    ):
        if not run.done:
            run.details.update(job.checkpoint.manifest.details if job.checkpoint.manifest else {})
            run.details.update({"semantic_ids": ids["semantic_ids"].identity} if ids else {})
            run.details.update(new_tokens=len(job.new_tokens.names), new_tokens_sha256=job.new_tokens.digest)
            from gti_cli.grounding.train import train_and_save

            job = replace(job, sharding=sharding, name=name, report_to=report_to, logs=space.path("runs") / name)
            train_and_save(job, run, run.path(name))
    return run.result()


def _sharding(options: GroundOptions) -> Sharding | None:
    found = requested_sharding()
    if found is not None and options.unfreeze_steps:
        raise InputError(
            f"--unfreeze-steps trains every weight, and under {found.name} no process holds them all",
            remedy="ground without it, or start it with torchrun or accelerate's MULTI_GPU configuration",
        )
    return found


def _prepare(
    space: Workspace,
    pairs: Path | str | None,
    prompts: Path | str | None,
    from_: str | None,
    name: str,
    options: GroundOptions,
    how: RunOptions,
) -> tuple[Job, dict[str, Manifest]]:
    """Check everything that can be checked before the model is loaded; the job, and the semantic IDs if there are."""
    from gti_cli.checkpoints.precision import choose_device, choose_dtype
    from gti_cli.grounding.retrieval import Catalogue

    checkpoint = find_checkpoint(space, from_, "extended", "gti extend")
    check_output_name(name, default="grounded", start=checkpoint.artifact)
    new_tokens = checkpoint.new_tokens()
    place = choose_device(how.device)
    number_format = choose_dtype(how.dtype, place)
    if options.objective == DISTIL:
        phrases = _phrases(pairs, prompts, new_tokens)
        options = options.choose_directions(semantic_ids=False)
        return Job(checkpoint, new_tokens, phrases, None, options, how.seed, place, number_format), {}
    upstream: dict[str, Manifest] = {}
    catalogue: Catalogue | None = None
    tokens_of: dict[str, str] | None = None
    codebooks: Path | None = None
    # Tokens that are no codes (extend --tokens) have nothing to do with semantic IDs that may lie here too.
    if (new_tokens.levels >= 0).any() and (pairs is None or space.manifest("semantic_ids") is not None):
        ids = space.require("semantic_ids", "gti build-ids")
        check_same_ids(checkpoint, ids)
        known = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
        catalogue = Catalogue(known.codes, known.tokens, code_ids(new_tokens, ids.details["sizes"]))
        tokens_of, upstream = dict(zip(known.item_ids, known.tokens, strict=True)), {"semantic_ids": ids}
        codebooks = space.path(CODEBOOKS) if CODEBOOKS in ids.outputs else None
    if pairs is None and tokens_of is None:
        raise InputError(
            "there are no items whose texts could be used: the new tokens are no semantic IDs",
            remedy="give --pairs, a table of text and tokens",
        )
    texts = read_pairs(space.path("items.parquet") if pairs is None else pairs, tokens_of, new_tokens.names)
    templates = OURS if prompts is None else read_templates(prompts)
    options = options.choose_directions(semantic_ids=catalogue is not None)
    job = Job(checkpoint, new_tokens, texts, catalogue, options, how.seed, place, number_format, templates, codebooks)
    return job, upstream


def _phrases(pairs: Path | str | None, prompts: Path | str | None, new_tokens: NewTokens) -> Phrases:
    """What `grounding.distil` works with; refuses what it cannot."""
    if (new_tokens.levels >= 0).any():
        raise InputError(
            "--objective distil is for tokens that stand for a phrase, and this checkpoint's are codes of semantic IDs",
            remedy="use --objective nll",
        )
    if pairs is None:
        raise InputError("--objective distil needs phrases", remedy="give --pairs, a table of text and tokens")
    if prompts is not None:
        raise InputError("--objective distil asks no questions", remedy="leave --prompts out; use the column context")
    return read_phrases(pairs, new_tokens.names)
