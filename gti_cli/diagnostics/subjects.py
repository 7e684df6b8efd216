"""The checkpoints under diagnosis: found, named apart, read, matched with the workspace's codebooks and catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.checkpoints.codebook_vectors import CodebookVectors, match_codebooks
from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.checkpoints.hub import list_checkpoints
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE
from gti_cli.diagnostics.catalogue import Catalogue, read_catalogue
from gti_cli.diagnostics.pictures.hierarchy import hierarchy_order
from gti_cli.diagnostics.rows import CheckpointRows, read_checkpoint
from gti_cli.errors import InputError
from gti_cli.tensors.codebooks import read_codebooks
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest


@dataclass(frozen=True)
class Subject:
    """One checkpoint under diagnosis.

    Attributes:
        label: its name, different from all others. rows: what was read of it.
        oracle: codebook vectors of its codes. order: (n,) its new tokens by hierarchy.
        parents: (n,) the code before each, -1 for none. carriers: item rows that carry each token. (None: no catalogue)
        manifest: of the stage that wrote it, None where it is not ours.
    """

    label: str
    rows: CheckpointRows
    oracle: CodebookVectors | None
    order: npt.NDArray[np.int64]
    parents: npt.NDArray[np.int64] | None
    carriers: list[npt.NDArray[np.int64]] | None
    manifest: Manifest | None = None


@dataclass(frozen=True)
class Reading:
    """Everything a diagnosis reads: the subjects, the catalogue, and what it rests on for the manifest."""

    subjects: list[Subject]
    catalogue: Catalogue | None
    upstream: dict[str, Manifest]
    oracle_file: Path | None


def read_subjects(
    space: Workspace,
    given: Sequence[str | Path],
    *,
    tokens_from: str | None,
    base_vocab: int | None,
    codebooks_from: str,
    seed: int,
    lend_tokens: bool = False,
) -> Reading:
    """Read all checkpoints; everything that can go wrong with the input goes wrong here, before anything is written.

    With ``lend_tokens`` a checkpoint that does not say which of its tokens are new has those of the one before it, as
    the folders that a Trainer saves along the way do not.

    Raises:
        InputError: see `diagnose.diagnose`.
    """
    if not given:
        raise InputError("no checkpoint given", remedy="name at least one, e.g. 'gti diagnose extended grounded'")
    found = [resolve(space, str(path)) for path in given]
    labels = label(found)
    upstream: dict[str, Manifest] = {}
    books: list[npt.NDArray[np.float32]] | None = None
    oracle_file: Path | None = None
    catalogue: Catalogue | None = None
    ids = space.manifest("semantic_ids") if codebooks_from == "auto" else None
    if ids is not None:
        ids = upstream["semantic_ids"] = space.require("semantic_ids", "gti build-ids")
        books = read_codebooks(space.path("codebooks.safetensors"))
        if space.path("items.parquet").is_file():
            catalogue = read_catalogue(space)
    elif codebooks_from not in ("auto", "none"):
        oracle_file = Path(codebooks_from)
        books = read_codebooks(oracle_file)
    subjects = []
    lent: str | None = None
    for text, checkpoint in zip(labels, found, strict=True):
        before = checkpoint.manifest.details.get("base_vocab") if checkpoint.manifest else None
        folder = Path(checkpoint.path)
        own = folder / NEW_TOKENS_FILE
        wanted = tokens_from or (lent if base_vocab is None and not own.is_file() else None)
        rows = read_checkpoint(folder, tokens_from=wanted, base_vocab=base_vocab, seed=seed, rows_before=before)
        lent = str(own) if lend_tokens and own.is_file() else lent
        if ids is not None and (rows.tokens.levels >= 0).any():
            check_same_ids(checkpoint, ids)
        upstream.update(checkpoint.upstream())
        subject = _subject(text, rows, books, catalogue, tokens_from is not None)
        subjects.append(replace(subject, manifest=checkpoint.manifest))
    if books is None and codebooks_from == "auto":
        console.note(f"no semantic IDs in {space.root}: no RSA with codebooks (or pass --codebooks FILE)")
    return Reading(subjects, catalogue, upstream, oracle_file)


def _subject(
    text: str,
    rows: CheckpointRows,
    books: list[npt.NDArray[np.float32]] | None,
    catalogue: Catalogue | None,
    part: bool,
) -> Subject:
    coded = bool((rows.tokens.levels >= 0).any())
    oracle = match_codebooks(rows.tokens, books, str(rows.folder), part=part) if books is not None and coded else None
    parents = catalogue.parents(rows.tokens) if catalogue is not None and coded else None
    carriers = catalogue.carriers(rows.tokens) if catalogue is not None and coded else None
    return Subject(text, rows, oracle, hierarchy_order(rows.tokens, oracle, parents), parents, carriers)


def resolve(space: Workspace, given: str) -> Checkpoint:
    """A folder of the workspace by name, or any folder on this machine; it needs no manifest.

    Raises:
        InputError: no such folder, or no checkpoint.
    """
    inside = space.path(given)
    if not Path(given).is_dir() and inside.is_dir() and not (inside / "gti.json").is_file():
        given = str(inside)
    checkpoint = find_checkpoint(space, given, given, "gti extend", hub=False)
    if not checkpoint.local:
        raise InputError(
            "no such checkpoint or folder",
            where=given,
            remedy=f"check the name: {list_checkpoints(space)}; diagnose reads files, so download a hub model first",
        )
    return checkpoint


def label(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """A different name for each checkpoint: its folder's, with as much of the path before it as tells them apart.

    Raises:
        InputError: the same folder twice.
    """
    paths = [Path(checkpoint.path).resolve() for checkpoint in checkpoints]
    for path in paths:
        if paths.count(path) > 1:
            raise InputError("the same checkpoint was given twice", where=str(path), remedy="name each once")
    depth = 1
    while True:
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            break
        depth += 1
    # Only those that would clash get longer.
    short = [path.name for path in paths]
    return [short[i] if short.count(short[i]) == 1 else labels[i] for i in range(len(paths))]
