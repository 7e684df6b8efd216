"""`gti build-ids NEW --reuse`: IDs for later items with the codebooks as they are; no earlier ID changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.errors import InputError, examples
from gti_cli.semantic_ids import artifact
from gti_cli.semantic_ids.catalogue import Catalogue, read_catalogue
from gti_cli.semantic_ids.collisions import collisions
from gti_cli.semantic_ids.encoders.encode import COLUMN, LSA, Encoded, LsaState, encode, encode_lsa_again
from gti_cli.semantic_ids.groups import first_alike
from gti_cli.semantic_ids.options import EncoderOptions
from gti_cli.semantic_ids.plan import parse_sizes
from gti_cli.semantic_ids.quality import report
from gti_cli.semantic_ids.quality.plot import remove_pictures
from gti_cli.semantic_ids.quantizers import quantise, residuals
from gti_cli.tables import SemanticIDs
from gti_cli.tensors.codebooks import read_codebooks
from gti_cli.tensors.vector_file import VectorFile
from gti_cli.workspace import StageRun, Workspace, processes
from gti_cli.workspace.manifest import Manifest, digest_path

if TYPE_CHECKING:
    import pyarrow as pa

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Earlier:
    """What the workspace holds already."""

    manifest: Manifest
    ids: SemanticIDs
    items: pa.Table
    vectors: VectorFile
    codebooks: list[Vectors]
    state: Mapping[str, npt.NDArray[Any]]
    history: pa.Table | None

    @property
    def policy(self) -> str:
        """How collisions were resolved, and are."""
        return str(self.manifest.details["collisions"])

    @property
    def quantised_levels(self) -> int:
        """Levels without a suffix level."""
        return len(self.codebooks) - (self.policy == "suffix")


def add_items(
    items: Path | str,
    workspace: Path | str = Path("gti-workspace"),
    *,
    text_columns: Sequence[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    given: Mapping[str, Any] | None = None,
) -> Manifest:
    """Give new items semantic IDs in a workspace that has some, with encoder, codebooks and policy of the first run.

    The artifact keeps its identity, so everything made from it stays valid; ``details["batches"]`` records each batch.
    The same batch again does nothing.

    Args:
        items: table of new items, none of whose ids is known yet. workspace: with ``semantic_ids``.
        text_columns: None: the columns of the first run. device, dtype: for an encoder that is a model.
        given: further options that the caller named, which must agree with the first run's.

    Raises:
        InputError: no semantic IDs to add to, known ids, other options than the first run's, no free tuple.
    """
    space = Workspace(workspace)
    manifest = space.require(artifact.NAME, "gti build-ids")
    if not Path(items).is_file():
        raise InputError("no such file", where=str(items), remedy="check the path")
    sha = digest_path(Path(items))
    batches = list(manifest.details.get("batches", []))
    if any(batch["sha256"] == sha for batch in batches):
        console.note(f"build-ids: the items of {items} have their IDs already; nothing to do")
        return manifest
    _check_options(manifest, text_columns, given or {})
    catalogue = read_catalogue(items, text_columns or manifest.options["text_columns"] or None)
    earlier = _read(space, manifest)
    _check_items(catalogue, earlier)
    if manifest.details["encoder"] not in (LSA, COLUMN):
        from gti_cli.checkpoints.devices import choose_device

        choose_device(device)  # a wrong name is refused before the workspace is touched
    with space.stage(
        "build-ids",
        artifact.NAME,
        list(manifest.outputs),
        options={**manifest.options, "batches": [batch["sha256"] for batch in batches]},
        inputs={"new_items": items},
        seed=manifest.seed,
        force=True,
    ) as run:
        if processes.rank() == 0:  # new items are few: nothing is shared out
            _add(run, catalogue, earlier, device, dtype)
        batch = {"sha256": sha, "items": len(catalogue)}
        # By it the command that made the first IDs is known when it is run again.
        first = manifest.details.get("first_request", manifest.request)
        run.details.update({**manifest.details, "batches": [*batches, batch], "first_request": first})
    if processes.rank() == 0:
        remove_pictures(space)
    return run.result()


def _check_options(manifest: Manifest, text_columns: Sequence[str] | None, given: Mapping[str, Any]) -> None:
    """Options that the caller names again must be those of the first run: the codebooks rest on them."""
    wanted = {**given, "text_columns": list(text_columns) if text_columns is not None else None}
    if wanted.get("codes") is not None:
        wanted["codes"] = parse_sizes(wanted["codes"], wanted.get("levels") or manifest.options["levels"])
    first = dict(manifest.options)
    for group in ("kmeans", "rqvae", "text_model"):
        first.update(manifest.options.get(group, {}))
    for option, value in wanted.items():
        value = list(value) if isinstance(value, tuple) else value
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
    known = set(earlier.ids.item_ids)
    again = [item for item in catalogue.item_ids if item in known]
    if again:
        raise InputError(
            f"{len(again):,} of the new items have semantic IDs already (item_id {examples(again)})",
            where=f"{catalogue.path}, row {catalogue.item_ids.index(again[0]) + 1:,}",
            remedy="give new items only: with --reuse no ID changes",
        )
    sizes = [len(book) for book in earlier.codebooks[: earlier.quantised_levels]]
    collisions.check_capacity(len(known) + len(catalogue), sizes, earlier.policy)
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


def _encode(catalogue: Catalogue, earlier: Earlier, device: str, dtype: str) -> tuple[Encoded, str]:
    encoder = str(earlier.manifest.details["encoder"])
    if encoder == LSA:
        return encode_lsa_again(catalogue, LsaState.from_arrays(earlier.state)), "cpu"
    if encoder == COLUMN:
        return encode(catalogue, encoder, earlier.manifest.seed), "cpu"
    from gti_cli.checkpoints.devices import choose_device, choose_dtype, describe

    chosen = choose_device(device)
    kind = choose_dtype(dtype, chosen)
    options = EncoderOptions(**earlier.manifest.options["text_model"])
    return encode(catalogue, encoder, earlier.manifest.seed, chosen, kind, options=options), describe(chosen)


def _add(run: StageRun, catalogue: Catalogue, earlier: Earlier, device: str, dtype: str) -> None:
    encoded, run.device = _encode(catalogue, earlier, device, dtype)
    details, levels = earlier.manifest.details, earlier.quantised_levels
    style = str(details["token_style"])
    books = earlier.codebooks[:levels]
    quantiser = quantise.load(details["quantizer"], books, earlier.state, earlier.manifest.options)
    space = quantiser.to_space(encoded.vectors)
    beam = int(earlier.manifest.options.get("kmeans", {}).get("beam", 1))
    new = residuals.encode(space, books, beam)
    resolved = collisions.resolve(space, books, new, earlier.policy, earlier.ids.codes)
    _check_suffixes(resolved.codes, list(details["sizes"]), earlier.policy)
    vectors = artifact.write_embeddings(run.path(artifact.EMBEDDINGS), earlier.vectors, encoded.vectors)
    codes = np.vstack([earlier.ids.codes, resolved.codes])
    items = _join(earlier.items, artifact.items_table(catalogue))
    items = artifact.with_same_as(items, first_alike(vectors))
    before = np.vstack([earlier.ids.codes[:, :levels], new])
    run.counts.update(report.count_items(items, vectors), **encoded.counts)
    run.counts.update(new_items=len(catalogue), moved=resolved.moved, moved_prefix=resolved.moved_prefix)
    run.metrics.update(
        report.measure(items, vectors, quantiser, before, codes, list(details["sizes"]), earlier.manifest.seed, style)
    )
    artifact.write_ids(run.path(artifact.IDS), [*earlier.ids.item_ids, *catalogue.item_ids], codes, style)
    tables.write(run.path(artifact.ITEMS), items)
    artifact.write_codebooks(run.path(artifact.CODEBOOKS), earlier.codebooks)
    if artifact.REUSE in earlier.manifest.outputs:
        artifact.write_arrays(run.path(artifact.REUSE), earlier.state)
    if earlier.history is not None:
        tables.write(run.path(artifact.HISTORY), earlier.history)


def _join(earlier: pa.Table, new: pa.Table) -> pa.Table:
    """Old rows, then new ones; a column that one side lacks is null there."""
    import pyarrow as pa

    try:
        return pa.concat_tables([earlier, new], promote_options="permissive")
    except pa.ArrowException as cause:
        raise InputError(
            f"a column has another type than in the first run: {str(cause).splitlines()[0]}", remedy="convert it"
        ) from cause


def _check_suffixes(codes: Codes, sizes: Sequence[int], policy: str) -> None:
    if policy == "suffix" and codes[:, -1].max() >= sizes[-1]:
        raise InputError(
            f"{int(codes[:, -1].max()) + 1:,} items share a tuple, and the model has {sizes[-1]:,} suffix tokens",
            remedy="build the IDs of all items anew with --force, then 'gti extend' and the stages after it",
        )
