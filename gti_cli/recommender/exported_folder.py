"""An exported recommender: a folder with all that a `Recommender` reads, so that it needs no workspace.

``gti_recommender.json`` says what the folder holds, how it was made, and the SHA-256 of each file. The other files are
the catalogue (Parquet), the embeddings of the items (safetensors) where the workspace has some, and the folder of the
checkpoint, or of the blend with those of its members. Paths in it are relative: the folder may be moved and copied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from gti_cli import tables
from gti_cli.blends.stored_blend import BASELINES_FILE, BLEND_FILE, BlendSource, StoredBlend
from gti_cli.checkpoints.configuration import CONFIG_FILE
from gti_cli.checkpoints.finding import Checkpoint, find_checkpoint
from gti_cli.errors import InputError
from gti_cli.recommender.results import TrainedOn
from gti_cli.tables.arrays.item_texts import ItemTexts
from gti_cli.tables.arrays.name_columns import text_names, unique_names
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace
from gti_cli.workspace.manifest import Manifest, canonical_digest, read_manifest
from gti_cli.workspace.sealed import CARD

FOLDER_MANIFEST = "gti_recommender.json"
CATALOGUE, CHECKPOINT, MEMBERS = "catalogue.parquet", "checkpoint", "members"
FORMAT = 1  # of the folder; it grows when a reader of the old one would go wrong
_AGAIN = "copy the folder again, or export it anew with 'gti export recommender'"


@dataclass(frozen=True)
class FolderManifest:
    """What an exported folder says of itself.

    Attributes:
        name: What the checkpoint or the blend is called.
        kind: ``checkpoint`` or ``blend``.
        sizes: Number of codes of each level.
        trained_on: Whether the checkpoint was fine-tuned to answer ``histories`` and ``queries``; None: not known.
        embeddings: Name of the file of embeddings; None: there is none.
        semantic_ids: Identity of the semantic IDs that it was made from.
        made_by: The stages that made it, the first one first; no folder of the machine stands in it.
        versions: Versions of the packages of the export.
        files: Size and SHA-256 of each file, by path relative to the folder.
        format: Of the folder.
    """

    name: str
    kind: str
    sizes: list[int]
    trained_on: dict[str, bool | None]
    embeddings: str | None
    semantic_ids: str
    made_by: list[dict[str, Any]]
    versions: dict[str, str]
    files: dict[str, dict[str, Any]]
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that is written to the file."""
        return {**asdict(self), "digest": canonical_digest(asdict(self))}


def describe_file(path: Path) -> dict[str, Any]:
    """Return the size and the SHA-256 of a file, as `FolderManifest.files` has them."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def exported_folder(root: Path, given: str | None) -> Path | None:
    """Return the exported folder that a caller means: what he names, or the folder in the place of a workspace.

    A name is looked up in the workspace first, whatever lies in the current folder.

    Args:
        root: Folder of the workspace.
        given: Name or path of a checkpoint or a blend. None: not given.
    """
    is_exported = (root / FOLDER_MANIFEST).is_file()
    if given is not None and (Path(given) / FOLDER_MANIFEST).is_file() and not _is_inside(root, given, is_exported):
        return Path(given)
    return root if is_exported else None


def _is_inside(root: Path, name: str, is_exported: bool) -> bool:
    """Whether a workspace, or the exported folder in its place, has something of this name."""
    if Path(name).name != name:  # a path
        return False
    return read_folder_manifest(root).name == name if is_exported else Workspace(root).manifest_path(name).is_file()


@dataclass(frozen=True)
class ExportedFolder:
    """An exported folder whose files were compared with its manifest.

    Attributes:
        folder: The folder.
        manifest: Its manifest.
        catalogue: All items with their semantic IDs.
        titles: Title of each item by its id.
    """

    folder: Path
    manifest: FolderManifest
    catalogue: tables.SemanticIDs
    titles: Mapping[str, str]

    @property
    def trained_on(self) -> TrainedOn:
        """What the checkpoint was fine-tuned to answer."""
        return TrainedOn(**self.manifest.trained_on)

    @property
    def embeddings(self) -> Path | None:
        """The file of embeddings."""
        name = self.manifest.embeddings
        return self._listed(name) if name is not None else None

    def _listed(self, *parts: str) -> Path:
        """Return the path of a file that the manifest lists, so that it lies in the folder and was compared."""
        name = PurePosixPath(*parts).as_posix()
        if name not in self.manifest.files:
            raise InputError(
                f"the manifest does not list {name!r}, which the recommender needs",
                where=str(self.folder),
                remedy=_AGAIN,
            )
        return self.folder / name

    def checkpoint(self) -> Checkpoint | None:
        """Find the checkpoint; None where the folder holds a blend.

        Raises:
            InputError: When its weights cannot be used.
        """
        if self.manifest.kind != CHECKPOINT:
            return None
        return replace(_find(self.folder / CHECKPOINT), artifact=self.manifest.name)

    def blend(self) -> BlendSource | None:
        """Find the blend and its checkpoints; None where the folder holds a checkpoint.

        Raises:
            InputError: When the blend cannot be read, or weights cannot be used.
        """
        name = self.manifest.name
        if self.manifest.kind == CHECKPOINT:
            return None
        self._listed(name, BASELINES_FILE)
        stored = StoredBlend.read(self._listed(name, BLEND_FILE))
        checkpoints = {
            record.name: _find(self._listed(name, record.checkpoint, CONFIG_FILE).parent)
            for record in stored.members
            if record.checkpoint is not None
        }
        ids = Manifest.placeholder("semantic_ids", details={"sizes": self.manifest.sizes})
        made = read_manifest(self._listed(name, CHECKPOINT_MANIFEST))
        if made.name != name:  # the name is where the files of the blend are read
            raise InputError(f"this blend is {made.name!r}, and not {name!r}", where=str(self.folder), remedy=_AGAIN)
        return BlendSource(Workspace(self.folder), ids, made, stored, checkpoints, self.catalogue)


def open_exported(folder: Path, given: str | None = None) -> ExportedFolder:
    """Compare the files of an exported folder with its manifest, and read the catalogue.

    Args:
        folder: The folder.
        given: Name of the checkpoint or the blend that the caller asks for. None: whichever the folder holds.

    Raises:
        InputError: When a file is missing, was changed or added, another version of `gti` wrote the folder, or it
            holds another recommender than the caller asks for.
    """
    manifest = read_folder_manifest(folder)
    if given is not None and given != manifest.name and not (Path(given) / FOLDER_MANIFEST).is_file():
        raise InputError(
            f"this exported folder holds the {manifest.kind} {manifest.name!r}, and not {given!r}",
            where=str(folder),
            remedy="leave the name out",
        )
    for name, entry in manifest.files.items():
        _check_file(folder, name, entry)
    _check_no_other_files(folder, manifest)
    path = folder / CATALOGUE
    table = tables.read(path, ["item_id", "title"])
    titles = ItemTexts(unique_names(table, "item_id", path), text_names(table, "title", path))
    return ExportedFolder(folder, manifest, tables.read_semantic_ids(path), titles)


def read_folder_manifest(folder: Path) -> FolderManifest:
    """Read the manifest of an exported folder.

    Raises:
        InputError: When it cannot be read, or another version of `gti` wrote it.
    """
    path = folder / FOLDER_MANIFEST
    try:
        payload = json.loads(path.read_text("utf-8"))
        written, digest = int(payload["format"]), payload.pop("digest")
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as cause:
        raise InputError("this is no manifest of an exported recommender", where=str(path), remedy=_AGAIN) from cause
    if written != FORMAT:
        raise InputError(
            f"the folder has format {written}, and this version of gti reads {FORMAT}",
            where=str(path),
            remedy="use the version of gti that wrote it, or export it again",
        )
    if digest != canonical_digest(payload):
        raise InputError("the manifest was edited or damaged", where=str(path), remedy=_AGAIN)
    try:
        manifest = FolderManifest(**payload)
        if not all({"bytes", "sha256"} <= set(entry) for entry in manifest.files.values()):
            raise TypeError("a file without its size or its digest")
        TrainedOn(**manifest.trained_on)
        return manifest
    except (TypeError, AttributeError) as cause:
        raise InputError("this is no manifest of an exported recommender", where=str(path), remedy=_AGAIN) from cause


def _check_file(folder: Path, name: str, entry: Mapping[str, Any]) -> None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"the manifest names {name!r}, which is outside the folder", where=str(folder), remedy=_AGAIN)
    path = folder / relative
    if not path.is_file():
        raise InputError("this file of the exported recommender is missing", where=str(path), remedy=_AGAIN)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError("this link leads out of the folder", where=str(path), remedy="copy the file in its place")
    if path.stat().st_size != entry["bytes"] or describe_file(path)["sha256"] != entry["sha256"]:
        raise InputError("this file was changed after the recommender was exported", where=str(path), remedy=_AGAIN)


def _check_no_other_files(folder: Path, manifest: FolderManifest) -> None:
    """Refuse added files: some, such as a chat template, would change the lists.

    Model cards may be edited, and nothing reads hidden files, such as those of git or of a download.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir() and not path.is_symlink():
            continue
        if name.as_posix() in manifest.files or path.name in (FOLDER_MANIFEST, CARD):
            continue
        if not any(part.startswith(".") for part in name.parts):
            raise InputError(
                "this file was added after the recommender was exported", where=str(path), remedy="move it elsewhere"
            )


def _find(folder: Path) -> Checkpoint:
    """Find a checkpoint of an exported folder, whose own manifest lies in it."""
    return find_checkpoint(Workspace(folder), str(folder), str(folder), "gti export recommender", hub=False)
