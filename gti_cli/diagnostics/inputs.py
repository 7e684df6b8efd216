"""Everything that a diagnosis reads: checkpoints, codebooks, items.

Checkpoints are looked up, given labels that differ, read, and matched with the codebooks and items of the workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.checkpoints.adapters.folder import names_adapter
from gti_cli.checkpoints.codebook_vectors import CodebookVectors, match_codebooks
from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.checkpoints.hub import list_checkpoints
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE
from gti_cli.diagnostics.checkpoint_rows import CheckpointRows, read_checkpoint
from gti_cli.diagnostics.coded_items import CodedItems, read_coded_items
from gti_cli.diagnostics.pictures.hierarchy import hierarchy_order
from gti_cli.diagnostics.token_selection import TOKENIZER_FILE
from gti_cli.errors import InputError
from gti_cli.tensors.codebooks import read_codebooks
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest


@dataclass(frozen=True)
class DiagnosedCheckpoint:
    """One checkpoint under diagnosis, with n new tokens.

    Attributes:
        label: Its name, different from that of every other checkpoint of the diagnosis.
        rows: The rows of its new tokens and of a sample of its pretrained tokens.
        codebook_vectors: The codebook vectors of its tokens that are codes. None without codebooks.
        order: (n,) row numbers of the new tokens, sorted by hierarchy.
        parents: (n,) code that precedes each token most often, -1 for none. None without items.
        carriers: For each token, the row numbers of the items that carry it. None without items.
        manifest: Manifest of the stage that wrote the checkpoint. None where no stage of `gti` wrote it.
    """

    label: str
    rows: CheckpointRows
    codebook_vectors: CodebookVectors | None
    order: npt.NDArray[np.int64]
    parents: npt.NDArray[np.int64] | None
    carriers: list[npt.NDArray[np.int64]] | None
    manifest: Manifest | None = None


@dataclass(frozen=True)
class DiagnosisInputs:
    """Everything that a diagnosis reads.

    Attributes:
        checkpoints: The checkpoints, in the order given.
        items: The items of the workspace. None without semantic IDs, or where other codebooks are used.
        upstream: Manifests of the stages whose output was read, by artifact.
        codebooks_file: The file of codebooks that the user passed. None where the workspace's or none are used.
        details: What the manifest says of adapters, and of heads that differ from a tied embedding, by label.
    """

    checkpoints: list[DiagnosedCheckpoint]
    items: CodedItems | None
    upstream: dict[str, Manifest]
    codebooks_file: Path | None
    details: dict[str, Any]


def read_inputs(
    space: Workspace,
    paths: Sequence[str | Path],
    *,
    tokens_from: str | None,
    base_vocab: int | None,
    codebooks_from: str,
    seed: int,
    inherit_tokens: bool = False,
    base: str | None = None,
) -> DiagnosisInputs:
    """Read all checkpoints, and the codebooks and items to compare them with.

    Every fault of the input is raised here, before anything is written.

    Args:
        space: The workspace.
        paths: Checkpoints, as `find_local_checkpoint` takes them.
        tokens_from: Which tokens are new, see `token_selection.find_new_tokens`.
        base_vocab: Which tokens are new, see `token_selection.find_new_tokens`.
        codebooks_from: ``auto``, ``none`` or a codebooks file, see `diagnose.diagnose`.
        seed: Seed of the sample of pretrained rows.
        inherit_tokens: A checkpoint without a list of its new tokens takes the list of the checkpoint before it.
            The ``checkpoint-N`` folders that a Trainer saves have no such list.
        base: Base model of the adapters among the checkpoints. None: the one that each names.

    Raises:
        InputError: See `diagnose.diagnose`.
    """
    if not paths:
        raise InputError("no checkpoint given", remedy="name at least one, e.g. 'gti diagnose extended grounded'")
    sources = [find_local_checkpoint(space, str(path), base) for path in paths]
    if base is not None and not any(source.adapter for source in sources):
        raise InputError("--base is for adapters, and none of the checkpoints is one", remedy="leave --base out")
    labels = distinct_labels(sources)
    references = _read_references(space, codebooks_from)
    upstream = {"semantic_ids": references.ids} if references.ids is not None else {}
    checkpoints = []
    last_list: str | None = None  # the list of new tokens that the last checkpoint with one of its own has
    for label, source in zip(labels, sources, strict=True):
        token_list = _token_list(source, tokens_from, base_vocab, last_list)
        rows = _read_rows(source, token_list, base_vocab, references, seed)
        own_list = source.beside(NEW_TOKENS_FILE)
        last_list = str(own_list) if inherit_tokens and own_list.is_file() else last_list
        if references.ids is not None and (rows.tokens.levels >= 0).any():
            check_same_ids(source, references.ids)
        upstream.update(source.upstream())
        checkpoint = _match(label, rows, references, tokens_from is not None)
        checkpoints.append(replace(checkpoint, manifest=source.manifest))
    if references.codebooks is None and codebooks_from == "auto":
        console.note(f"no semantic IDs in {space.root}: no RSA with codebooks (or pass --codebooks FILE)")
    details = {label: facts for label, source in zip(labels, sources, strict=True) if (facts := source.details())}
    sources_of = {"sources": details} if details else {}
    return DiagnosisInputs(checkpoints, references.items, upstream, references.codebooks_file, sources_of)


@dataclass(frozen=True)
class _References:
    """What checkpoints are compared with.

    Attributes:
        ids: Manifest of the semantic IDs of the workspace. None without them, or where they are not used.
        codebooks: L arrays (K_l, d). None without codebooks.
        codebooks_file: The file of codebooks that the user passed.
        items: The items of the workspace. None where no semantic IDs are used.
    """

    ids: Manifest | None = None
    codebooks: list[npt.NDArray[np.float32]] | None = None
    codebooks_file: Path | None = None
    items: CodedItems | None = None


def _read_references(space: Workspace, codebooks_from: str) -> _References:
    """Read codebooks and items."""
    if codebooks_from not in ("auto", "none"):
        return _References(codebooks=read_codebooks(Path(codebooks_from)), codebooks_file=Path(codebooks_from))
    if codebooks_from == "none" or space.manifest("semantic_ids") is None:
        return _References()
    ids = space.require("semantic_ids", "gti build-ids")
    codebooks = read_codebooks(space.path("codebooks.safetensors"))
    return _References(ids, codebooks, items=read_coded_items(space) if space.path("items.parquet").is_file() else None)


def _token_list(
    source: Checkpoint, tokens_from: str | None, base_vocab: int | None, last_list: str | None
) -> str | None:
    """What says which tokens of a checkpoint are new; None where ``base_vocab`` or a list in its folder does.

    Args:
        source: The checkpoint.
        tokens_from: What the user gave.
        base_vocab: What the user gave.
        last_list: The list of the checkpoint before it, for one without a list.
    """
    own_list = source.beside(NEW_TOKENS_FILE)  # of an adapter, that of its base
    if tokens_from or base_vocab is not None:
        return tokens_from or None
    if not own_list.is_file():
        return last_list
    return str(own_list) if own_list.parent != Path(source.path) else None


def _read_rows(
    source: Checkpoint, token_list: str | None, base_vocab: int | None, references: _References, seed: int
) -> CheckpointRows:
    """Read the rows of a checkpoint's new tokens and of a sample of its pretrained tokens."""
    books = references.codebooks if references.ids is not None else None
    return read_checkpoint(
        Path(source.path),
        embeddings=source.embeddings(),
        vocabulary_from=source.beside(TOKENIZER_FILE).parent,
        tokens_from=token_list,
        base_vocab=base_vocab,
        seed=seed,
        rows_before=source.known_manifest.details.get("base_vocab") if source.known_manifest else None,
        code_sizes=[len(book) for book in books] if books is not None else None,
    )


def _match(label: str, rows: CheckpointRows, references: _References, tokens_chosen: bool) -> DiagnosedCheckpoint:
    """Match the new tokens with codebooks and items; tokens that are no codes have neither."""
    vectors = parents = carriers = None
    codebooks, items = references.codebooks, references.items
    if (rows.tokens.levels >= 0).any():
        if codebooks is not None:
            vectors = match_codebooks(rows.tokens, codebooks, str(rows.folder), part=tokens_chosen)
        if items is not None:
            parents, carriers = items.parents(rows.tokens), items.carriers(rows.tokens)
    order = hierarchy_order(rows.tokens, vectors, parents)
    return DiagnosedCheckpoint(label, rows, vectors, order, parents, carriers)


def find_local_checkpoint(space: Workspace, path: str, base: str | None = None) -> Checkpoint:
    """Find a checkpoint on this machine: a folder of the workspace by name, or any folder, also one without manifest.

    Args:
        space: The workspace.
        path: Name or path.
        base: Base model, if the checkpoint is an adapter. None: the one that the adapter names.

    Raises:
        InputError: When there is no such folder, or no checkpoint in it.
    """
    inside = space.path(path)
    if not Path(path).is_dir() and inside.is_dir() and not (inside / "gti.json").is_file():
        path = str(inside)
    base = base if names_adapter(space, path) else None
    checkpoint = find_checkpoint(space, path, path, "gti extend", hub=False, adapters=True, base=base)
    if not checkpoint.local:
        raise InputError(
            "no such checkpoint or folder",
            where=path,
            remedy=f"check the name: {list_checkpoints(space)}; diagnose reads files, so download a hub model first",
        )
    return checkpoint


def distinct_labels(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Give each checkpoint a different label: its folder's name, preceded by parent folders where names are equal.

    Raises:
        InputError: When the same folder is given twice.
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
    # Only labels that would be equal get longer.
    names = [path.name for path in paths]
    return [names[i] if names.count(names[i]) == 1 else labels[i] for i in range(len(paths))]
