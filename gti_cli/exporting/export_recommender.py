"""``gti export recommender``: a folder that `gti_cli.Recommender` and ``gti serve`` read without the workspace."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from gti_cli import console, tables
from gti_cli.baselines.base import EMBEDDINGS
from gti_cli.blends.stored_blend import BLEND_FILE, BlendSource
from gti_cli.cards.history import lineage_of
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.errors import InputError
from gti_cli.exporting.output_folder import check_folder, replacing_folder
from gti_cli.exporting.public_manifest import public_manifest, stage_entries, without_paths
from gti_cli.prompts.prompt_file import PROMPT_FILE, has_prior
from gti_cli.recommender.exported_folder import (
    CATALOGUE,
    CHECKPOINT,
    FOLDER_MANIFEST,
    MEMBERS,
    FolderManifest,
    describe_file,
)
from gti_cli.recommender.files import RecommenderFiles, read_workspace
from gti_cli.tensors.vector_file import VectorFile
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace, write_json
from gti_cli.workspace.manifest import package_versions, read_manifest
from gti_cli.workspace.sealed import CARD, is_sealed_card

if TYPE_CHECKING:
    from gti_cli.checkpoints.finding import Checkpoint
    from gti_cli.workspace.manifest import Manifest

# What a checkpoint or a blend needs. Pickles, such as another trainer's training_args.bin, are never copied.
_KINDS = {".safetensors", ".json", ".parquet", ".jinja", ".model"}
_TEXT_FILES = {"merges.txt", "vocab.txt"}  # of tokenizers
_FOLDERS = {PurePath(PRIOR_FILE).parent.name, "additional_chat_templates"}
# These hold tokens and texts for the model, which may begin with "/", and no paths.
_VERBATIM = {
    *("tokenizer.json", "vocab.json", "added_tokens.json", "special_tokens_map.json", "chat_template.json"),
    PROMPT_FILE,
}
_CARD = """# Recommender {name}

{items:,} items, exported by `gti export recommender`. `{manifest}` says how it was made. The folder needs nothing
beside it: it may be moved and copied.

    gti serve -w THIS_FOLDER
    gti recommend -w THIS_FOLDER --history ITEM_ID,ITEM_ID

```python
from gti_cli import Recommender

lists = Recommender.load("THIS_FOLDER").recommend([["ITEM_ID", "ITEM_ID"]], k=10)
```
"""


@dataclass(frozen=True)
class RecommenderExport:
    """A recommender that was exported.

    Attributes:
        folder: The folder.
        manifest: What its manifest says.
        items: Number of items.
        prior: Whether a behaviour prior is in it.
        left_out: Files of the checkpoint or the blend that were not copied, since nothing of `gti` reads them.
    """

    folder: Path
    manifest: FolderManifest
    items: int
    prior: bool
    left_out: list[str]

    def parts(self) -> list[tuple[str, int, int]]:
        """Return name, number of files and bytes of each part of the folder."""
        found: dict[str, list[int]] = {}
        for name, entry in self.manifest.files.items():
            found.setdefault(name.split("/")[0], []).append(entry["bytes"])
        return [(name, len(sizes), sum(sizes)) for name, sizes in sorted(found.items())]

    def numbers(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        parts = [{"part": name, "files": files, "bytes": size} for name, files, size in self.parts()]
        return {
            "output": str(self.folder),
            "name": self.manifest.name,
            "kind": self.manifest.kind,
            "items": self.items,
            "levels": len(self.manifest.sizes),
            "embeddings": self.manifest.embeddings is not None,
            "behaviour_prior": self.prior,
            "left_out": self.left_out,
            "parts": parts,
            "from": self.manifest.semantic_ids,
        }


def export_recommender(
    output: Path, workspace: Path | str, checkpoint: str | None = None, *, force: bool = False
) -> RecommenderExport:
    """Write the folder.

    Args:
        output: The folder; it must not exist, or must be empty.
        workspace: Folder of the workspace.
        checkpoint: Name of a checkpoint or a blend in it, or path of a checkpoint. None: ``finetuned``.
        force: Replace a recommender that was exported to this folder before.

    Raises:
        InputError: When there is no such checkpoint, it cannot be exported, or the folder holds something else.
    """
    check_folder(output, force)
    space = Workspace(workspace)
    if (space.root / FOLDER_MANIFEST).is_file():
        raise InputError("this is an exported recommender already", where=str(space.root), remedy="copy the folder")
    ids = space.require("semantic_ids", "gti build-ids")
    files = read_workspace(space, checkpoint)
    with replacing_folder(output) as folder:
        _write_catalogue(folder, files)
        embeddings = _copy_embeddings(folder, files)
        if files.blend is not None:
            left_out, manifest = _copy_blend(folder, files.blend), files.blend.manifest
            prior = any(has_prior(Path(found.path)) for found in files.blend.checkpoints.values())
        else:
            source = _usable(files.checkpoint)
            left_out, manifest = _copy_model(Path(source.path), folder / CHECKPOINT), source.manifest or ids
            prior = has_prior(folder / CHECKPOINT)
        made = _describe(folder, files, lineage_of(space, manifest), ids.identity, embeddings)
        write_json(folder / FOLDER_MANIFEST, made.to_json())
        (folder / CARD).write_text(_card(made, len(files.catalogue.item_ids)), "utf-8")
    if left_out:
        console.note(f"{len(left_out):,} files that gti does not read were left out: {', '.join(left_out[:5])}")
    return RecommenderExport(output, made, len(files.catalogue.item_ids), prior, left_out)


def _usable(checkpoint: Checkpoint | None) -> Checkpoint:
    """Refuse a checkpoint whose files do not lie in one folder of this machine."""
    assert checkpoint is not None
    if checkpoint.adapter is not None:
        raise InputError(
            "an adapter (PEFT), and an exported recommender holds a whole checkpoint",
            where=checkpoint.path,
            remedy="merge it with its base: 'gti diagnose FOLDER --merge-into NAME', then give NAME",
        )
    if not checkpoint.local:
        raise InputError(
            "this checkpoint is not on this machine", where=checkpoint.path, remedy="download it, and give its folder"
        )
    return checkpoint


def _write_catalogue(folder: Path, files: RecommenderFiles) -> None:
    ids = files.catalogue
    titles = [files.titles.get(item, "") for item in ids.item_ids]
    columns = {"item_id": ids.item_ids, "codes": ids.codes.tolist(), "tokens": ids.tokens, "title": titles}
    tables.write(folder / CATALOGUE, columns)


def _copy_embeddings(folder: Path, files: RecommenderFiles) -> str | None:
    """Copy the embeddings of the items; return the name of the file, None where there are none for all items."""
    if files.embeddings is None:
        return None
    rows, items = len(VectorFile(files.embeddings)), len(files.catalogue.item_ids)
    if rows != items:
        console.warn(f"the embeddings are of {rows:,} items, and the catalogue has {items:,}: they are left out")
        return None
    shutil.copyfile(files.embeddings, folder / EMBEDDINGS)
    return EMBEDDINGS


def _copy_blend(folder: Path, source: BlendSource) -> list[str]:
    """Copy a blend and its checkpoints, and say in its file that these lie beside it."""
    inside = folder / source.manifest.name
    left_out = _copy_model(source.space.path(source.manifest.name), inside, weights=False)
    members = []
    for record in source.stored.members:
        if record.checkpoint is not None:
            place = f"{MEMBERS}/{record.name}"
            left_out += _copy_model(Path(source.checkpoints[record.name].path), inside / place)
            record = replace(record, checkpoint=place, identity=None)
        members.append(record)
    replace(source.stored, members=tuple(members)).write(inside / BLEND_FILE)
    return left_out


def _copy_model(source: Path, folder: Path, *, weights: bool = True) -> list[str]:
    """Copy the files of a checkpoint or a blend, without paths of this machine; return those that are left out."""
    left_out: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.name in _FOLDERS:
            left_out += [f"{path.name}/{name}" for name in _copy_model(path, folder / path.name, weights=False)]
        elif path.is_dir():  # such as checkpoint-500/, a state of the training
            left_out.append(f"{path.name}/")
        elif not _copy_file(path, folder / path.name):
            left_out.append(path.name)
    if weights and not list(folder.glob("*.safetensors")):
        raise InputError(
            "there are no weights as safetensors", where=str(source), remedy="save the checkpoint as safetensors"
        )
    return left_out


def _copy_file(path: Path, target: Path) -> bool:
    """Copy a file without paths of this machine; return False for one that is left out."""
    if path.name == CHECKPOINT_MANIFEST:
        write_json(target, public_manifest(read_manifest(path)).to_json())
        return True
    known = path.suffix in _KINDS or path.name in _TEXT_FILES
    if not path.is_file() or not (known or is_sealed_card(path)):
        return False
    if path.suffix == ".json" and path.name not in _VERBATIM:
        try:
            content = json.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError):  # no JSON, so nothing reads it
            return False
        public = without_paths(content)
        if public != content:
            target.write_text(json.dumps(public, indent=2), "utf-8")
            return True
    shutil.copyfile(path, target)
    return True


def _card(manifest: FolderManifest, items: int) -> str:
    return _CARD.format(name=manifest.name, items=items, manifest=FOLDER_MANIFEST)


def _describe(
    folder: Path, files: RecommenderFiles, lineage: list[Manifest], semantic_ids: str, embeddings: str | None
) -> FolderManifest:
    """Describe the folder, whose files are all written."""
    written = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD)
    name = Path(files.name).resolve().name if files.blend is None else files.name
    return FolderManifest(
        name,
        CHECKPOINT if files.blend is None else "blend",
        [int(size) for size in files.sizes],
        asdict(files.trained_on),
        embeddings,
        semantic_ids,
        stage_entries(lineage),
        package_versions(),
        {path.relative_to(folder).as_posix(): describe_file(path) for path in written},
    )
