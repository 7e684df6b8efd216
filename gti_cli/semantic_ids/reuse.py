"""`gti build-ids NEW --reuse`: add items to a workspace with its codebooks unchanged; no earlier ID changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.errors import InputError, list_some
from gti_cli.options import RunOptions, changed
from gti_cli.semantic_ids import artifact
from gti_cli.semantic_ids.catalogue import Catalogue, read_catalogue
from gti_cli.semantic_ids.collisions.resolve import check_capacity, resolve_collisions
from gti_cli.semantic_ids.encoders.encode import COLUMN, LSA, Encoded, encode, encode_with_fitted_lsa
from gti_cli.semantic_ids.encoders.lsa_state import LsaState
from gti_cli.semantic_ids.groups import first_equal_rows
from gti_cli.semantic_ids.options import EncoderOptions, IdsOptions, KMeansOptions, RQVAEOptions
from gti_cli.semantic_ids.plan import parse_sizes
from gti_cli.semantic_ids.quality import report
from gti_cli.semantic_ids.quality.plot import remove_pictures
from gti_cli.semantic_ids.quantizers import residual_codes
from gti_cli.semantic_ids.quantizers.quantizer import load_quantizer
from gti_cli.tables import SemanticIDs
from gti_cli.tensors.codebooks import read_codebooks
from gti_cli.tensors.vector_file import VectorFile
from gti_cli.workspace import StageRun, Workspace, processes
from gti_cli.workspace.inputs import digest_input
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]

# Options that a caller may name again with --reuse; they must be those of the first run.
_REPEATABLE = ("encoder", "quantizer", "levels", "codes", "collisions", "import_index", "token_style")


@dataclass(frozen=True)
class Earlier:
    """The artifact ``semantic_ids`` as the workspace holds it before the new items.

    Attributes:
        manifest: Its manifest.
        ids: Items and codes so far.
        items: The items table, with ``same_as``.
        vectors: (N, d) embeddings of the items.
        codebooks: L arrays (K_l, d_code), one for each level, a suffix level included.
        state: Arrays of a fitted LSA and of an RQ-VAE, see `artifact.REUSE`.
        history: Training history of an RQ-VAE, if there is one.
    """

    manifest: Manifest
    ids: SemanticIDs
    items: pa.Table
    vectors: VectorFile
    codebooks: list[Vectors]
    state: Mapping[str, npt.NDArray[Any]]
    history: pa.Table | None

    @property
    def policy(self) -> str:
        """How collisions are resolved, in the first run and now."""
        return str(self.manifest.details["collisions"])

    @property
    def quantized_levels(self) -> int:
        """The number of levels without a suffix level."""
        return len(self.codebooks) - (self.policy == "suffix")


@tables.in_terms_of_the_file
def add_items(
    items: Path | str,
    workspace: Path | str,
    options: IdsOptions,
    run_options: RunOptions,
    *,
    kmeans: KMeansOptions | None = None,
    rqvae: RQVAEOptions | None = None,
    text_model: EncoderOptions | None = None,
) -> Manifest:
    """Give new items semantic IDs in a workspace that has some, with encoder, codebooks and policy of the first run.

    The artifact keeps its identity, so everything made from it stays valid; ``details["batches"]`` records each batch.
    Adding the same batch twice has no effect.

    Args:
        items: Table of new items. None of their ids may be in the workspace.
        workspace: Folder with the artifact ``semantic_ids``.
        options: Options that the caller named must agree with those of the first run. ``text_columns`` None means the
            columns of the first run.
        run_options: ``device`` and ``dtype`` serve an encoder that is a model. The seed must be that of the first run,
            or the default. ``force`` and ``resume`` change nothing, and a note says so.
        kmeans: Options of residual k-means; they must agree with those of the first run.
        rqvae: Options of the RQ-VAE; likewise.
        text_model: Options of a text encoder that is a model; likewise.

    Returns:
        The manifest of the artifact with all items.

    Raises:
        InputError: When the workspace has no semantic IDs, an item id exists already, an option differs from the first
            run, or no free tuple of codes is left.
    """
    space = Workspace(workspace)
    manifest = space.require(artifact.NAME, "gti build-ids")
    items = tables.locate(items)
    items_digest = digest_input(items)
    batches = list(manifest.details.get("batches", []))
    if any(batch["sha256"] == items_digest for batch in batches):
        console.note(f"build-ids: the items of {items} have their IDs already; nothing to do")
        return manifest
    named = _named_options(options, kmeans, rqvae, text_model)
    _check_options(manifest, {**named, **changed(RunOptions(seed=run_options.seed))})
    if run_options.force or not run_options.resume:
        console.note(
            "--force and --no-resume change nothing with --reuse: no earlier ID changes, and nothing is resumed"
        )
    catalogue = read_catalogue(items, options.text_columns or manifest.options["text_columns"] or None)
    earlier = _read(space, manifest)
    _check_items(catalogue, earlier)
    if manifest.details["encoder"] not in (LSA, COLUMN):
        from gti_cli.checkpoints.devices import choose_device

        choose_device(run_options.device)  # An invalid name is refused here, before the workspace is touched.
    with space.stage(
        "build-ids",
        artifact.NAME,
        list(manifest.outputs),
        options={**manifest.options, "batches": [batch["sha256"] for batch in batches]},
        inputs={"new_items": items},
        seed=manifest.seed,
        force=True,
    ) as run:
        if processes.rank() == 0:  # New items are few, so the first process does all the work.
            _add(run, catalogue, earlier, run_options)
        batch = {"sha256": items_digest, "items": len(catalogue)}
        # If the first run's command is given again, the workspace recognises it by this digest of its request.
        first = manifest.details.get("first_request", manifest.request)
        run.details.update({**manifest.details, "batches": [*batches, batch], "first_request": first})
    if processes.rank() == 0:
        remove_pictures(space)
    return run.result()


def _named_options(
    options: IdsOptions, kmeans: KMeansOptions | None, rqvae: RQVAEOptions | None, text_model: EncoderOptions | None
) -> dict[str, Any]:
    """Options by name; None for one that the caller did not name."""
    named = {name: getattr(options, name) for name in _REPEATABLE}
    for group in (kmeans, rqvae, text_model):
        if group is not None:
            named.update(changed(group))
    named["text_columns"] = list(options.text_columns) if options.text_columns is not None else None
    return named


def _check_options(manifest: Manifest, named: dict[str, Any]) -> None:
    """Refuse options that differ from the first run, because the codebooks were made with those."""
    if named["codes"] is not None:
        named["codes"] = parse_sizes(named["codes"], named["levels"] or manifest.options["levels"])
    first = {**manifest.options, "seed": manifest.seed}
    for group in ("kmeans", "rqvae", "text_model"):
        first.update(manifest.options.get(group, {}))
    for option, value in named.items():
        value = list(value) if isinstance(value, tuple) else value  # The manifest, being JSON, has lists.
        if value is not None and value != first.get(option):
            name = "--" + option.replace("_", "-")
            raise InputError(
                f"{name} {value} is not what the semantic IDs were made with ({first.get(option)})",
                remedy=f"leave {name} out: with --reuse all options are those of the first run",
            )


def _read(space: Workspace, manifest: Manifest) -> Earlier:
    state, history = artifact.REUSE, artifact.HISTORY
    return Earlier(
        manifest,
        tables.read_semantic_ids(space.path(artifact.IDS)),
        tables.read(space.path(artifact.ITEMS)),
        VectorFile(space.path(artifact.EMBEDDINGS)),
        read_codebooks(space.path(artifact.CODEBOOKS)),
        artifact.read_arrays(space.path(state)) if state in manifest.outputs else {},
        tables.read(space.path(history)) if history in manifest.outputs else None,
    )


def _check_items(catalogue: Catalogue, earlier: Earlier) -> None:
    earlier_ids = set(earlier.ids.item_ids)
    repeated = [item for item in catalogue.item_ids if item in earlier_ids]
    if repeated:
        raise InputError(
            f"{len(repeated):,} of the new items have semantic IDs already (item_id {list_some(repeated)})",
            where=f"{catalogue.path}, row {catalogue.item_ids.index(repeated[0]) + 1:,}",
            remedy="give new items only: with --reuse no ID changes",
        )
    sizes = [len(book) for book in earlier.codebooks[: earlier.quantized_levels]]
    check_capacity(len(earlier_ids) + len(catalogue), sizes, earlier.policy)
    if earlier.manifest.details["encoder"] == COLUMN:
        width = catalogue.embedding_width()
        if width != earlier.vectors.shape[1]:
            raise InputError(
                f"the embeddings have {width} numbers, those of the first run {earlier.vectors.shape[1]}",
                where=f"{catalogue.path}, column 'embedding'",
                remedy="encode the new items with the same encoder",
            )
    else:
        catalogue.require_texts()


def _encode(catalogue: Catalogue, earlier: Earlier, run_options: RunOptions) -> tuple[Encoded, str]:
    """The embeddings of the new items, and the device in words."""
    encoder = str(earlier.manifest.details["encoder"])
    if encoder == LSA:
        return encode_with_fitted_lsa(catalogue, LsaState.from_arrays(earlier.state)), "cpu"
    if encoder == COLUMN:
        return encode(catalogue, encoder, earlier.manifest.seed), "cpu"
    from gti_cli.checkpoints.devices import choose_device, choose_dtype, describe

    device = choose_device(run_options.device)
    dtype = choose_dtype(run_options.dtype, device)
    options = EncoderOptions.from_recorded(earlier.manifest.options["text_model"])
    return encode(catalogue, encoder, earlier.manifest.seed, device, dtype, options=options), describe(device)


def _add(run: StageRun, catalogue: Catalogue, earlier: Earlier, run_options: RunOptions) -> None:
    import pyarrow as pa

    encoded, run.device = _encode(catalogue, earlier, run_options)
    details, levels = earlier.manifest.details, earlier.quantized_levels
    style = str(details["token_style"])
    books = earlier.codebooks[:levels]
    quantizer = load_quantizer(details["quantizer"], books, earlier.state, earlier.manifest.options)
    code_space = quantizer.to_code_space(encoded.vectors)
    beam = int(earlier.manifest.options.get("kmeans", {}).get("beam", 1))
    new = residual_codes.encode(code_space, books, beam)
    resolved = resolve_collisions(code_space, books, new, earlier.policy, earlier.ids.codes)
    _check_suffixes(resolved.codes, list(details["sizes"]), earlier.policy)
    vectors = artifact.write_embeddings(run.path(artifact.EMBEDDINGS), earlier.vectors, encoded.vectors)
    codes = np.vstack([earlier.ids.codes, resolved.codes])
    joined = _join(earlier.items, pa.concat_tables(artifact.items_parts(catalogue)))
    parts = artifact.with_same_as([joined], joined.column("item_id"), first_equal_rows(vectors))
    items = artifact.write_items(run.path(artifact.ITEMS), parts)
    # The codes of the first run before its collisions were resolved are not stored, so "before" has them resolved.
    before = np.vstack([earlier.ids.codes[:, :levels], new])
    run.counts.update(report.count_items(items, vectors), **encoded.counts)
    run.counts.update(new_items=len(catalogue), moved=resolved.moved, moved_prefix=resolved.moved_prefix)
    run.metrics.update(
        report.measure(items, vectors, quantizer, before, codes, list(details["sizes"]), earlier.manifest.seed, style)
    )
    artifact.write_ids(run.path(artifact.IDS), [*earlier.ids.item_ids, *catalogue.item_ids], codes, style)
    artifact.write_codebooks(run.path(artifact.CODEBOOKS), earlier.codebooks)
    if artifact.REUSE in earlier.manifest.outputs:
        artifact.write_arrays(run.path(artifact.REUSE), earlier.state)
    if earlier.history is not None:
        tables.write(run.path(artifact.HISTORY), earlier.history)


def _join(earlier: pa.Table, new: pa.Table) -> pa.Table:
    """Earlier rows, then new ones; a column that one table lacks is null in its rows."""
    import pyarrow as pa

    try:
        return pa.concat_tables([earlier, new], promote_options="permissive")
    except pa.ArrowException as cause:
        raise InputError(
            f"a column has another type than in the first run: {str(cause).splitlines()[0]}", remedy="convert it"
        ) from cause


def _check_suffixes(codes: Codes, sizes: Sequence[int], policy: str) -> None:
    """Refuse a suffix for which the first run made no token: the checkpoints lack it."""
    if policy == "suffix" and codes[:, -1].max() >= sizes[-1]:
        raise InputError(
            f"{int(codes[:, -1].max()) + 1:,} items share a tuple, and the model has {sizes[-1]:,} suffix tokens",
            remedy="build the IDs of all items anew with --force, then 'gti extend' and the stages after it",
        )
