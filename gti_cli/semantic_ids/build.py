"""The stage `gti build-ids`: give each item of a catalogue its semantic ID.

Encode the items' texts as embeddings, quantize the embeddings level by level into codes, give items with the same codes
different ones, and measure the quality of the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gti_cli import console, tables
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.semantic_ids import artifact
from gti_cli.semantic_ids.collisions.resolve import resolve_collisions
from gti_cli.semantic_ids.encoders.encode import COLUMN, LSA, Encoded, encode
from gti_cli.semantic_ids.groups import first_equal_rows
from gti_cli.semantic_ids.options import EncoderOptions, IdsKeywords, IdsOptions, KMeansOptions, RQVAEOptions
from gti_cli.semantic_ids.plan import BuildPlan, check_enough, make_plan
from gti_cli.semantic_ids.quality import report
from gti_cli.semantic_ids.quality.plot import remove_pictures
from gti_cli.semantic_ids.quantizers import residual_codes
from gti_cli.semantic_ids.quantizers.quantizer import Codes, Quantizer, Vectors, train_quantizer
from gti_cli.semantic_ids.reuse import add_items
from gti_cli.tables import BlockTable
from gti_cli.tensors.vector_file import VectorRows
from gti_cli.workspace import StageRun, Workspace, processes
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Machine:
    """The device and the number formats of a run.

    Attributes:
        device: Where a text model and an RQ-VAE run; None for a run without torch.
        dtype: Number format of a text model; None for a run without torch.
        training_dtype: Number format in which an RQ-VAE trains; None for a run without torch.
        name: The device in words, for the manifest.
        reason: Why ``training_dtype`` was chosen, for the manifest.
    """

    device: torch.device | None
    dtype: torch.dtype | None
    training_dtype: torch.dtype | None
    name: str
    reason: str = ""


def build_ids(
    items: Path | str,
    workspace: Path | str = Path("gti-workspace"),
    *,
    kmeans: KMeansOptions | None = None,
    rqvae: RQVAEOptions | None = None,
    text_model: EncoderOptions | None = None,
    **keywords: Unpack[IdsKeywords],
) -> Manifest:
    """Give each item of a table its semantic ID.

    Args:
        items: Table (see `gti_cli.tables.locate`) of ``item_id`` and text columns, ``embedding``, or both.
        workspace: Folder in which the artifact ``semantic_ids`` is written.
        kmeans: Options of residual k-means.
        rqvae: Options of the RQ-VAE.
        text_model: Options of a text encoder that is a model.
        **keywords: See `IdsOptions` and `gti_cli.options.RunOptions`.

    Returns:
        The manifest: ``details`` (levels, sizes, token_style, identity, …), ``counts``, ``metrics``.

    Raises:
        InputError: When the table or an option is invalid.
    """
    refuse_unknown(keywords, IdsOptions, RunOptions)
    options, run_options = pick(IdsOptions, keywords), pick(RunOptions, keywords)
    items = tables.locate(items, run_options.columns)
    if options.reuse:
        return add_items(items, workspace, options, run_options, kmeans=kmeans, rqvae=rqvae, text_model=text_model)
    space = Workspace(workspace)
    plan = make_plan(
        items, options, kmeans=kmeans, rqvae=rqvae, text_model=text_model, folder=_nearest_folder(space.root)
    )
    machine = _choose_machine(plan, run_options)
    # Without an earlier artifact, a picture of that name is the user's own file and must stay.
    replaces = space.manifest_path(artifact.NAME).exists()
    with space.stage(
        "build-ids",
        artifact.NAME,
        plan.outputs(),
        options=plan.options(),
        inputs={"items": items, "index": options.import_index},
        seed=run_options.seed,
        force=run_options.force,
        resume=run_options.resume,
    ) as run:
        if not run.done:
            _build(run, plan, run_options.seed, machine)
    if replaces and not run.done and processes.rank() == 0:
        remove_pictures(space)
    return run.result()


def _build(run: StageRun, plan: BuildPlan, seed: int, machine: Machine) -> None:
    """Encode, quantize and resolve collisions; then write the artifact and record what was measured."""
    run.device = machine.name
    encoded = encode(
        plan.catalogue,
        plan.encoder,
        seed,
        machine.device,
        machine.dtype,
        options=plan.text_model,
        scratch=run.scratch,
        store=run.path(artifact.EMBEDDINGS),
    )
    if processes.rank() > 0:
        return  # The processes share the encoding only; the first one does the rest.
    vectors = encoded.vectors
    items = _write_items(run, plan, encoded)
    quantizer = train_quantizer(plan, vectors, seed, machine.device, machine.training_dtype, run.scratch)
    _write_state(run, encoded, quantizer)
    del encoded  # A fitted LSA takes hundreds of megabytes.
    code_space = quantizer.to_code_space(vectors)
    codes = (
        plan.index.codes
        if plan.index is not None
        else residual_codes.encode(code_space, quantizer.codebooks, plan.beam)
    )
    resolved = resolve_collisions(code_space, quantizer.codebooks, codes, plan.policy)
    codebooks, sizes = _with_suffix_level(plan, quantizer, code_space, resolved.codes)
    if plan.quantizer == "rq-vae":
        run.measured["dtype"] = f"{machine.training_dtype}".removeprefix("torch.") + f" ({machine.reason})"
    run.counts.update(moved=resolved.moved, moved_prefix=resolved.moved_prefix)
    run.metrics.update(
        report.measure(items, vectors, quantizer, codes, resolved.codes, sizes, seed, plan.style), **quantizer.metrics
    )
    if plan.index is not None and plan.index.extra:
        run.counts["index_entries_without_item"] = plan.index.extra
        console.warn(f"{plan.index.extra:,} entries of the index are for items that the catalogue lacks: left out")
    artifact.write_ids(run.path(artifact.IDS), plan.catalogue.item_ids, resolved.codes, plan.style)
    artifact.write_codebooks(run.path(artifact.CODEBOOKS), codebooks)
    artifact.write_embeddings(run.path(artifact.EMBEDDINGS), vectors)
    run.details.update(
        levels=len(sizes),
        sizes=sizes,
        token_style=plan.style,
        quantizer=plan.quantizer,
        encoder=plan.encoder,
        collisions=plan.policy,
        identity=artifact.identity(codebooks, resolved.codes, sizes, plan.style),
        batches=[],
    )


def _write_items(run: StageRun, plan: BuildPlan, encoded: Encoded) -> BlockTable:
    """Write the items table and count what is in it; refuse codebooks that have more codes than items differ."""
    first_equal = first_equal_rows(encoded.vectors)
    parts = artifact.with_same_as(artifact.items_parts(plan.catalogue), plan.catalogue.item_ids.column, first_equal)
    items = artifact.write_items(run.path(artifact.ITEMS), parts)
    run.counts.update(report.count_items(items, encoded.vectors), **encoded.counts)
    run.measured.update(encoded.measured)
    run.details.update(encoded.details)
    if plan.index is None:
        distinct = int((first_equal == np.arange(len(first_equal))).sum())
        check_enough(distinct, plan.sizes, "different embeddings")
    return items


def _with_suffix_level(
    plan: BuildPlan, quantizer: Quantizer, code_space: VectorRows, codes: Codes
) -> tuple[list[Vectors], list[int]]:
    """The codebook and the size of each level, of a suffix level, too.

    A suffix code is a mere counter. Its vector is the mean residual of the items that have it, so that the last level
    has a codebook like the others.

    Args:
        plan: Says how collisions were resolved, and has the sizes of the quantized levels.
        quantizer: Has their codebooks.
        code_space: (N, d) vectors of the items in the quantizer's space.
        codes: (N, L) codes after collisions were resolved.
    """
    codebooks, sizes = list(quantizer.codebooks), list(plan.sizes)
    if plan.policy != "suffix":
        return codebooks, sizes
    sizes.append(int(codes[:, -1].max()) + 1)
    return residual_codes.mean_codebooks(code_space, codes, sizes, fixed=codebooks), sizes


def _write_state(run: StageRun, encoded: Encoded, quantizer: Quantizer) -> None:
    """Write how an RQ-VAE trained, and what gives new items their codes later."""
    if quantizer.history:
        artifact.write_history(run.path(artifact.HISTORY), quantizer.history)
    state = {**(encoded.state.arrays() if encoded.state else {}), **quantizer.state}
    if state:
        artifact.write_arrays(run.path(artifact.REUSE), state)


def _nearest_folder(place: Path) -> Path:
    """The folder itself, or the nearest one above it that exists; nothing visible is written there."""
    return next((folder for folder in (place, *place.parents) if folder.is_dir()), Path())


def _choose_machine(plan: BuildPlan, options: RunOptions) -> Machine:
    """Choose device and number formats; residual k-means over LSA or given vectors runs without loading torch."""
    without_torch = plan.quantizer != "rq-vae" and plan.encoder in (LSA, COLUMN)
    if without_torch and options.device in ("auto", "cpu") and options.dtype == "auto":
        return Machine(None, None, None, "cpu")
    from gti_cli.checkpoints import devices

    device = devices.choose_device(options.device)
    training, reason = devices.choose_training_dtype(options.dtype, device)
    devices.seed_everything(options.seed)
    dtype = devices.choose_dtype(options.dtype, device)
    return Machine(device, dtype, training, devices.describe(device), reason)
