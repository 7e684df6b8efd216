"""The stage `gti build-ids`: items to semantic IDs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gti_cli import console, tables
from gti_cli.options import RunOptions, changed, pick, refuse_unknown
from gti_cli.semantic_ids import artifact
from gti_cli.semantic_ids.collisions import collisions
from gti_cli.semantic_ids.encoders.encode import COLUMN, LSA, encode
from gti_cli.semantic_ids.groups import first_alike
from gti_cli.semantic_ids.options import EncoderOptions, IdsKeywords, IdsOptions, KMeansOptions, RQVAEOptions
from gti_cli.semantic_ids.plan import Plan, check_enough, make_plan
from gti_cli.semantic_ids.quality import report
from gti_cli.semantic_ids.quality.plot import remove_pictures
from gti_cli.semantic_ids.quantizers import quantise, residuals
from gti_cli.workspace import StageRun, Workspace, processes
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Machine:
    """Where torch runs, if it is needed at all: device, number format of an encoder and of an RQ-VAE while it trains.

    ``name`` is the device in words, ``why`` the choice of the RQ-VAE's number format.
    """

    device: torch.device | None
    dtype: torch.dtype | None
    training_dtype: torch.dtype | None
    name: str
    why: str = ""


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
        items: Parquet, CSV or JSONL with ``item_id``, text columns and / or ``embedding``.
        workspace: where the artifact ``semantic_ids`` is written.
        kmeans, rqvae: options of the quantisers. text_model: of an encoder that is a model.
        keywords: see `IdsOptions` and `gti_cli.options.RunOptions`.

    Returns:
        The manifest: ``details`` (levels, sizes, token_style, identity, …), ``counts``, ``metrics``.

    Raises:
        InputError: anything wrong with the table or the options.
    """
    refuse_unknown(keywords, IdsOptions, RunOptions)
    options, how = pick(IdsOptions, keywords), pick(RunOptions, keywords)
    if options.reuse:
        from gti_cli.semantic_ids.reuse import add_items

        names = ("encoder", "quantizer", "levels", "codes", "collisions", "import_index", "token_style")
        given = {name: getattr(options, name) for name in names}
        given.update(item for group in (kmeans, rqvae, text_model) if group for item in changed(group).items())
        return add_items(
            items, workspace, text_columns=options.text_columns, device=how.device, dtype=how.dtype, given=given
        )
    plan = make_plan(items, options, kmeans=kmeans, rqvae=rqvae, text_model=text_model)
    machine = _choose(plan, how.seed, how.device, how.dtype)
    space = Workspace(workspace)
    replaces = space.manifest_path(artifact.NAME).exists()  # without one, a picture there is the caller's own
    with space.stage(
        "build-ids",
        artifact.NAME,
        plan.outputs(),
        options=plan.options(),
        inputs={"items": items, "index": options.import_index},
        seed=how.seed,
        force=how.force,
        resume=how.resume,
    ) as run:
        if not run.done:
            _build(run, plan, how.seed, machine)
    if replaces and not run.done and processes.rank() == 0:
        remove_pictures(space)
    return run.result()


def _build(run: StageRun, plan: Plan, seed: int, machine: Machine) -> None:
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
        return  # several processes share the encoding; the rest is the first one's work
    vectors = encoded.vectors
    alike = first_alike(vectors)
    items = artifact.with_same_as(artifact.items_table(plan.catalogue), alike)
    run.counts.update(report.count_items(items, vectors), **encoded.counts)
    if plan.index is None:
        check_enough(int((alike == np.arange(len(alike))).sum()), plan.sizes, "different embeddings")
    quantiser = quantise.train(plan, vectors, seed, machine.device, machine.training_dtype, run.scratch)
    space = quantiser.to_space(vectors)
    codes = plan.index.codes if plan.index is not None else residuals.encode(space, quantiser.codebooks, plan.beam)
    resolved = collisions.resolve(space, quantiser.codebooks, codes, plan.policy)
    codebooks, sizes = list(quantiser.codebooks), list(plan.sizes)
    if plan.policy == "suffix":
        # The suffix means nothing by itself; its vector is what the items that bear it have in common.
        sizes.append(int(resolved.codes[:, -1].max()) + 1)
        codebooks = residuals.mean_codebooks(space, resolved.codes, sizes, known=codebooks)
    if plan.quantizer == "rq-vae":
        run.measured["dtype"] = f"{machine.training_dtype}".removeprefix("torch.") + f" ({machine.why})"
    run.counts.update(moved=resolved.moved, moved_prefix=resolved.moved_prefix)
    run.metrics.update(
        report.measure(items, vectors, quantiser, codes, resolved.codes, sizes, seed, plan.style), **quantiser.metrics
    )
    if plan.index is not None and plan.index.extra:
        run.counts["index_entries_without_item"] = plan.index.extra
        console.warn(f"{plan.index.extra:,} entries of the index are for items that the catalogue lacks: left out")
    artifact.write_ids(run.path(artifact.IDS), plan.catalogue.item_ids, resolved.codes, plan.style)
    tables.write(run.path(artifact.ITEMS), items)
    artifact.write_codebooks(run.path(artifact.CODEBOOKS), codebooks)
    artifact.write_embeddings(run.path(artifact.EMBEDDINGS), vectors)
    if quantiser.history:
        artifact.write_history(run.path(artifact.HISTORY), quantiser.history)
    state = {**(encoded.state.arrays() if encoded.state else {}), **quantiser.state}
    if state:
        artifact.write_arrays(run.path(artifact.REUSE), state)
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


def _choose(plan: Plan, seed: int, device: str, dtype: str) -> Machine:
    """Device and dtype where torch is needed; residual k-means over LSA or given vectors runs without loading it."""
    if plan.quantizer != "rq-vae" and plan.encoder in (LSA, COLUMN) and device in ("auto", "cpu") and dtype == "auto":
        return Machine(None, None, None, "cpu")
    from gti_cli.checkpoints import devices

    chosen = devices.choose_device(device)
    training, why = devices.choose_training_dtype(dtype, chosen)
    devices.seed_everything(seed)
    return Machine(chosen, devices.choose_dtype(dtype, chosen), training, devices.describe(chosen), why)
