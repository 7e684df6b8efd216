"""The stage ``ground``: new tokens learn their meaning from pairs of text and tokens, in a frozen model.

This module checks everything that can be checked before a model is loaded, and hands a `GroundingJob` to `train`. Pairs
are read in `pairs`, phrases for distillation in `distil.contexts`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.cards.card import write_card
from gti_cli.checkpoints.finding import check_same_ids, find_checkpoint
from gti_cli.checkpoints.new_tokens import NewTokens, code_ids
from gti_cli.errors import InputError
from gti_cli.grounding.distil.contexts import Phrases, read_phrases
from gti_cli.grounding.job import GroundingJob
from gti_cli.grounding.new_items import NewItems, check_options, read_new_items
from gti_cli.grounding.options import DISTIL, REGRESSION, GroundKeywords, GroundOptions
from gti_cli.grounding.read_pairs import read_pairs
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.prompts.pair_prompts import DEFAULT_TEMPLATES
from gti_cli.prompts.templates import read_templates
from gti_cli.tables import SemanticIDs
from gti_cli.tables.cold_start.held_out_items import hand_on
from gti_cli.training.arguments import import_trainer
from gti_cli.training.callbacks.tracking import trackers
from gti_cli.training.sharding import Sharding, plain_launch, requested_sharding
from gti_cli.workspace import Workspace, check_output_name
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gti_cli.grounding.retrieval import ItemIndex

CODEBOOKS = "codebooks.safetensors"


def ground(
    workspace: Path | str = Path("gti-workspace"),
    *,
    pairs: Path | str | None = None,
    items: Path | str | None = None,
    prompts: Path | str | None = None,
    from_: str | None = None,
    name: str = "grounded",
    **keywords: Unpack[GroundKeywords],
) -> Manifest:
    """Train the rows of the new tokens and nothing else (arXiv 2604.02324, Algorithm 1).

    With ``lora``, adapters train beside the rows; with ``unfreeze_steps``, all weights train after them.

    Args:
        workspace: The workspace.
        pairs: Table of `item_id` with `title` and / or `description`, or of `text` with `tokens`. With
            ``objective="distil"``: of `text` (a phrase) with `tokens` and, optionally, `context`. None: the texts of
            the workspace's items.
        items: Table of the `item_id` of new items of the workspace. Their texts there are the pairs, and only rows of
            codes that stand in no other item train. None: the rows of all new tokens.
        prompts: File with the wordings of the prompts, see `prompts.templates.read_templates` (None: built-in ones).
        from_: Checkpoint to start from: its name in the workspace, or a folder (None: ``extended``).
        name: The output's folder in the workspace.
        keywords: See `GroundOptions` and `gti_cli.options.RunOptions`. ``dtype`` is the number format in which the
            frozen model computes. The new rows train in float32, and everything is saved in the number format of the
            checkpoint to start from.

    Returns:
        The manifest of the output.

    Raises:
        InputError: When an input, an option or the workspace has a fault that the caller can correct.
    """
    refuse_unknown(keywords, GroundOptions, RunOptions)
    options, run_options = pick(GroundOptions, keywords), pick(RunOptions, keywords)
    options.check()
    sharding, report_to = _sharding(options), trackers(options.report_to)
    pairs, items = tables.locate_all([pairs, items], run_options.columns)
    if items is not None:
        check_options(options, pairs)
    space = Workspace(workspace)
    job, ids = _prepare(space, pairs, items, prompts, from_, name, options, run_options)
    with (
        plain_launch(),
        space.stage(
            "ground",
            name,
            [name],
            options={**job.options.resolved(), "dtype": str(job.dtype).removeprefix("torch.")},
            inputs={"pairs": pairs, "items": items, "prompts": prompts, **job.checkpoint.inputs()},
            upstream={**ids, **job.checkpoint.upstream()},
            seed=run_options.seed,
            force=run_options.force,
            resume=run_options.resume,
            checkpoint=True,
            describe=partial(write_card, space, job.checkpoint),
        ) as run,
    ):
        if not run.done:
            run.details.update(job.checkpoint.manifest.details if job.checkpoint.manifest else {})
            run.details.update({"semantic_ids": ids["semantic_ids"].identity} if ids else {})
            run.details.update(new_tokens=len(job.new_tokens.names), new_tokens_sha256=job.new_tokens.digest)
            import_trainer(adapters=job.options.lora)
            from gti_cli.grounding.train import train_and_save

            job = replace(job, sharding=sharding, name=name, report_to=report_to, logs=space.path("runs") / name)
            train_and_save(job, run, run.path(name))
            hand_on(job.checkpoint.path, run.path(name), run)
    return run.result()


def _sharding(options: GroundOptions) -> Sharding | None:
    """How the launcher divides the model; refused where every process needs all weights."""
    sharding = requested_sharding()
    if sharding is not None and options.unfreeze_steps:
        raise InputError(
            f"--unfreeze-steps trains every weight, and under {sharding.name} no process holds them all",
            remedy="ground without it, or start it with torchrun or accelerate's MULTI_GPU configuration",
        )
    if sharding is not None and options.solver == REGRESSION:
        raise InputError(
            f"--solver {REGRESSION} reads the whole output head, and under {sharding.name} no process holds all of it",
            remedy="use --solver gradient, or start it with torchrun or accelerate's MULTI_GPU configuration",
        )
    return sharding


def _prepare(
    space: Workspace,
    pairs: Path | str | None,
    items: Path | str | None,
    prompts: Path | str | None,
    from_: str | None,
    name: str,
    options: GroundOptions,
    run_options: RunOptions,
) -> tuple[GroundingJob, dict[str, Manifest]]:
    """Check everything that can be checked before the model is loaded.

    Returns:
        The job, and the manifest of the semantic IDs that it depends on, if there are any.
    """
    from gti_cli.checkpoints.devices import choose_device, choose_dtype

    checkpoint = find_checkpoint(space, from_, "extended", "gti extend")
    check_output_name(name, default="grounded", start=checkpoint.artifact)
    new_tokens = checkpoint.new_tokens()
    device = choose_device(run_options.device)
    if options.solver == REGRESSION and device.type == "mps":
        raise InputError(
            f"--solver {REGRESSION} computes in float64, which the device mps does not have", remedy="use --device cpu"
        )
    dtype = choose_dtype(run_options.dtype, device)
    seed = run_options.seed
    if options.objective == DISTIL:
        phrases = _phrases(pairs, prompts, new_tokens)
        options = options.choose_directions(semantic_ids=False)
        return GroundingJob(checkpoint, new_tokens, phrases, None, options, seed, device, dtype), {}
    upstream: dict[str, Manifest] = {}
    item_index: ItemIndex | None = None
    tokens_of_item: dict[str, str] | None = None
    codebooks: Path | None = None
    new_items: NewItems | None = None
    # Tokens without codes (extend --tokens) do not depend on semantic IDs that may be in the same workspace. Codes do,
    # unless pairs are given and the workspace has no semantic IDs: then nothing is known about items.
    if (new_tokens.levels >= 0).any() and (pairs is None or space.manifest("semantic_ids") is not None):
        ids = space.require("semantic_ids", "gti build-ids")
        check_same_ids(checkpoint, ids)
        catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
        item_index, tokens_of_item = _items(catalogue, ids, new_tokens)
        new_items = read_new_items(items, catalogue, new_tokens) if items is not None else None
        upstream = {"semantic_ids": ids}
        codebooks = space.path(CODEBOOKS) if CODEBOOKS in ids.outputs else None
    if pairs is None and tokens_of_item is None:
        raise InputError(
            "the new tokens are not semantic IDs, so there are no item texts to train on",
            remedy="give --pairs, a table of text and tokens",
        )
    of_pairs = space.path("items.parquet") if pairs is None else pairs
    table = read_pairs(of_pairs, tokens_of_item, new_tokens.names, new_items.items if new_items is not None else None)
    templates = DEFAULT_TEMPLATES if prompts is None else read_templates(prompts)
    options = options.choose_directions(semantic_ids=item_index is not None)
    job = GroundingJob(
        checkpoint, new_tokens, table, item_index, options, seed, device, dtype, templates, codebooks, new_items
    )
    return job, upstream


def _items(items: SemanticIDs, ids: Manifest, new_tokens: NewTokens) -> tuple[ItemIndex, dict[str, str]]:
    """The index of all items, and the tokens of each by item id."""
    from gti_cli.grounding.retrieval import ItemIndex

    item_index = ItemIndex(items.codes, items.tokens, code_ids(new_tokens, ids.details["sizes"]))
    return item_index, dict(zip(items.item_ids, items.tokens, strict=True))


def _phrases(pairs: Path | str | None, prompts: Path | str | None, new_tokens: NewTokens) -> Phrases:
    """Read the phrases to distil; refuses codes of semantic IDs, prompts, and a missing table."""
    if (new_tokens.levels >= 0).any():
        raise InputError(
            "--objective distil trains tokens that stand for a phrase; this checkpoint's tokens are codes of semantic "
            "IDs",
            remedy="use --objective nll",
        )
    if pairs is None:
        raise InputError("--objective distil needs phrases", remedy="give --pairs, a table of text and tokens")
    if prompts is not None:
        raise InputError("--objective distil uses no prompts", remedy="leave --prompts out; use the column context")
    return read_phrases(pairs, new_tokens.names)
