"""The stage `gti build-ids`: items to semantic IDs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.errors import examples
from gti_cli.manifest import Manifest
from gti_cli.semantic_ids import artifact, collisions, kmeans, meaning, quality, residuals
from gti_cli.semantic_ids.catalogue import CATEGORIES, Catalogue
from gti_cli.semantic_ids.encode import COLUMN, LSA, Encoded, encode
from gti_cli.semantic_ids.groups import first_alike
from gti_cli.semantic_ids.options import KMeansOptions, RQVAEOptions
from gti_cli.semantic_ids.plan import TOKEN_STYLES, Plan, check_enough, make_plan
from gti_cli.workspace import StageRun, Workspace

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Quantised:
    """What a quantiser made of the embeddings.

    Attributes:
        space: (N, d_code), what the codebooks quantise. codebooks: L arrays (K_l, d_code). codes: (N, L).
        decode: (codes, number of levels) -> embeddings (n, d). metrics: what it reports by the way.
    """

    space: Vectors
    codebooks: list[Vectors]
    codes: Codes
    decode: Callable[[Codes, int], Vectors]
    metrics: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Machine:
    """Where torch runs, if it is needed at all, and that in words."""

    device: torch.device | None
    dtype: torch.dtype | None
    name: str


def build_ids(
    items: Path | str,
    workspace: Path | str = Path("gti-workspace"),
    *,
    encoder: str | None = None,
    text_columns: Sequence[str] | None = None,
    quantizer: str = "rq-kmeans",
    levels: int | None = None,
    codes: str | int | Sequence[int] | None = None,
    collisions: str | None = None,
    import_index: Path | str | None = None,
    token_style: str = TOKEN_STYLES[0],
    kmeans: KMeansOptions | None = None,
    rqvae: RQVAEOptions | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    force: bool = False,
    resume: bool = True,
) -> Manifest:
    """Give each item of a table its semantic ID.

    Args:
        items: Parquet, CSV or JSONL with ``item_id``, text columns and / or ``embedding``.
        workspace: where the artifact ``semantic_ids`` is written.
        encoder: ``lsa``, ``column``, or a sentence-transformers model; None: the ``embedding`` column, else LSA.
        text_columns: which columns make an item's text; None: title, description, brand, categories, as far as there.
        quantizer: ``rq-kmeans`` or ``rq-vae``. levels: L; None: 4, or as many as ``codes`` lists.
        codes: K for all levels, or a list (``"1024,512,256"``); None: 256.
        collisions: see `gti_cli.semantic_ids.collisions`; None: ``next-best`` (``allow`` for an imported index).
        import_index: codes in LC-Rec's JSON instead of quantising. The codebooks are then the mean residuals of each
            code's items (`residuals.mean_codebooks`), so that the diagnostics have something to compare with.
        token_style: ``lc-rec``. kmeans, rqvae: options of the quantisers.
        seed, device, dtype, force, resume: as everywhere.

    Returns:
        The manifest: ``details`` (levels, sizes, token_style, identity, …), ``counts``, ``metrics``.

    Raises:
        InputError: anything wrong with the table or the options.
    """
    plan = make_plan(
        items,
        encoder=encoder,
        text_columns=text_columns,
        quantizer=quantizer,
        levels=levels,
        codes=codes,
        collisions_policy=collisions,
        import_index=import_index,
        token_style=token_style,
        kmeans=kmeans or KMeansOptions(),
        rqvae=rqvae or RQVAEOptions(),
    )
    machine = _choose(plan, seed, device, dtype)
    space = Workspace(workspace)
    with space.stage(
        "build-ids",
        artifact.NAME,
        [*artifact.FILES, *([artifact.HISTORY] if plan.quantizer == "rq-vae" else [])],
        options=plan.options(),
        inputs={"items": items, "index": import_index},
        seed=seed,
        force=force,
        resume=resume,
    ) as run:
        if not run.done:
            _build(run, plan, seed, machine)
    return run.result()


def _build(run: StageRun, plan: Plan, seed: int, machine: Machine) -> None:
    run.device = machine.name
    encoded = encode(plan.catalogue, plan.encoder, seed, machine.device, machine.dtype)
    alike = first_alike(encoded.vectors)
    _report_items(run, plan, encoded, alike)
    if plan.index is None:
        check_enough(int((alike == np.arange(len(alike))).sum()), plan.sizes, "different embeddings")
    quantised = _quantise(plan, encoded.vectors, seed, machine.device)
    resolved = collisions.resolve(quantised.space, quantised.codebooks, quantised.codes, plan.policy)
    codebooks, sizes = quantised.codebooks, list(plan.sizes)
    if plan.policy == "suffix":
        # The suffix means nothing by itself; its vector is what the items that bear it have in common.
        sizes.append(int(resolved.codes[:, -1].max()) + 1)
        rest = quantised.space - residuals.decode(quantised.codes, codebooks)
        codebooks = [*codebooks, *residuals.mean_codebooks(rest, resolved.codes[:, -1:], sizes[-1:])]
    _report_ids(run, plan, encoded.vectors, quantised, resolved, sizes)
    run.metrics.update(_meaning(plan.catalogue, encoded.vectors, quantised.space, resolved.codes, seed))
    artifact.write_ids(run.path(artifact.IDS), plan.catalogue.item_ids, resolved.codes)
    artifact.write_items(run.path(artifact.ITEMS), plan.catalogue, alike)
    artifact.write_codebooks(run.path(artifact.CODEBOOKS), codebooks)
    artifact.write_embeddings(run.path(artifact.EMBEDDINGS), encoded.vectors)
    if quantised.history:
        artifact.write_history(run.path(artifact.HISTORY), quantised.history)
    run.details.update(
        levels=len(sizes),
        sizes=sizes,
        token_style=TOKEN_STYLES[0],
        quantizer=plan.quantizer,
        encoder=plan.encoder,
        collisions=plan.policy,
        identity=artifact.identity(codebooks, resolved.codes, sizes),
    )


def _choose(plan: Plan, seed: int, device: str, dtype: str) -> Machine:
    """Device and dtype where torch is needed; residual k-means over LSA or given vectors runs without loading it."""
    if plan.quantizer != "rq-vae" and plan.encoder in (LSA, COLUMN) and device in ("auto", "cpu") and dtype == "auto":
        return Machine(None, None, "cpu")
    from gti_cli.training.precision import choose_device, choose_dtype, describe, seed_everything

    chosen = choose_device(device)
    kind = choose_dtype(dtype, chosen)
    seed_everything(seed)
    return Machine(chosen, kind, describe(chosen))


def _quantise(plan: Plan, vectors: Vectors, seed: int, device: torch.device | None) -> Quantised:
    if plan.quantizer == "rq-vae":
        return _quantise_rqvae(plan, vectors, seed, device)
    metrics: dict[str, Any] = {}
    if plan.index is not None:
        codes = plan.index.codes
        codebooks = residuals.mean_codebooks(vectors, codes, plan.sizes)
    else:
        codebooks = kmeans.train(vectors, plan.sizes, seed, plan.kmeans)
        codes = residuals.encode(vectors, codebooks)
        metrics = {"trained_on": min(len(vectors), plan.kmeans.sample)}
        if len(vectors) > plan.kmeans.sample:
            console.note(f"codebooks trained on a sample of {plan.kmeans.sample:,} of {len(vectors):,} items")
    return Quantised(vectors, codebooks, codes, lambda some, count: residuals.decode(some, codebooks, count), metrics)


def _quantise_rqvae(plan: Plan, vectors: Vectors, seed: int, device: torch.device | None) -> Quantised:
    from gti_cli.semantic_ids import rqvae_training

    assert device is not None  # _choose gives one whenever torch is needed
    trained = rqvae_training.train(vectors, plan.sizes, seed, device, plan.rqvae)
    codes = residuals.encode(trained.latents, trained.codebooks)
    metrics = {"epochs": trained.epochs, "stopped": trained.stopped, "revived_codes": trained.revived}
    return Quantised(trained.latents, trained.codebooks, codes, trained.decode, {"rqvae": metrics}, trained.history)


def _report_items(run: StageRun, plan: Plan, encoded: Encoded, alike: npt.NDArray[np.int64]) -> None:
    ids = plan.catalogue.item_ids
    copies = np.flatnonzero(alike != np.arange(len(alike)))
    texts = len(ids) - len(set(plan.catalogue.texts)) if plan.catalogue.text_columns else 0
    run.counts.update(
        items=len(ids),
        width=encoded.vectors.shape[1],
        repeated_texts=texts,
        identical_embeddings=len(copies),
        **encoded.counts,
    )
    if len(copies):
        pairs = [f"{ids[row]} = {ids[alike[row]]}" for row in copies]
        console.warn(
            f"{len(copies):,} items have the same embedding as another ({examples(pairs)}); "
            f"all of them in items.parquet, column 'same_as'"
        )
    if plan.index is not None and plan.index.extra:
        run.counts["index_entries_without_item"] = plan.index.extra
        console.warn(
            f"{plan.index.extra:,} entries of the index are for items that the catalogue does not have: left out"
        )


def _report_ids(
    run: StageRun,
    plan: Plan,
    vectors: Vectors,
    quantised: Quantised,
    resolved: collisions.Resolved,
    sizes: Sequence[int],
) -> None:
    count = len(plan.sizes)
    kept = quality.reconstruction(vectors, resolved.codes[:, :count], count, quantised.decode)
    raw = quality.reconstruction(vectors, quantised.codes, count, quantised.decode)[-1]
    run.metrics.update(
        levels=quality.level_report(resolved.codes, sizes, kept),
        collisions_before=quality.collision_figures(quantised.codes),
        collisions_after=quality.collision_figures(resolved.codes),
        explained_variance=kept[-1]["explained_variance"],
        explained_variance_before=raw["explained_variance"],
        **quantised.metrics,
    )
    run.counts.update(moved=resolved.moved, moved_prefix=resolved.moved_prefix)


def _meaning(catalogue: Catalogue, vectors: Vectors, space: Vectors, codes: Codes, seed: int) -> dict[str, Any]:
    """What the codes mean: neighbours, categories, examples."""
    report: dict[str, Any] = {
        "neighbourhood": meaning.neighbourhood_kept(vectors, codes, seed),
        "fullest_prefixes": meaning.fullest_prefixes(codes, space, catalogue.titles()),
    }
    if CATEGORIES in catalogue.table.column_names:
        values = tables.strings(catalogue.table, CATEGORIES, catalogue.path)
        report["purity"] = {CATEGORIES: meaning.purity(values, codes, seed)}
    return report
