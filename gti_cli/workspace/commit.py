"""Move the outputs of a finished stage into place, so that a kill at any moment loses nothing.

The staging folder of a stage holds its outputs below ``files``. `commit` writes ``COMMIT.json`` there, which says what
to move and what to remove; from then on the work counts as done. `roll_forward` carries out what ``COMMIT.json`` says
and can be repeated: after a kill, the next process that opens the workspace calls it again (`finish_commits`). This is
a redo log as databases use it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from gti_cli.workspace.files import write_json
from gti_cli.workspace.manifest import CHECKPOINT_MANIFEST, Manifest, digest_path

COMMIT_FILE = "COMMIT.json"
FILES = "files"  # the folder of the outputs in a staging folder


def commit(root: Path, staging: Path, manifest: Manifest, manifest_path: str, replaced: Manifest | None) -> None:
    """Move the outputs of a finished stage into place.

    Args:
        root: The workspace.
        staging: The staging folder, with all outputs that the manifest lists.
        manifest: The manifest of the new outputs.
        manifest_path: Where the manifest goes, relative to ``root``.
        replaced: The manifest of the same artifact that is replaced, if there is one.
    """
    apply_umask(staging / FILES)
    outdated = outdated_outputs(root, replaced, manifest)
    payload = {"manifest_path": manifest_path, "manifest": manifest.to_json(), "remove": outdated}
    write_json(staging / COMMIT_FILE, payload)
    roll_forward(root, staging)


def finish_commits(root: Path) -> None:
    """Carry out what killed processes had committed but not moved; the caller holds the workspace's lock."""
    for staging in pending_commits(root):
        roll_forward(root, staging)


def pending_commits(root: Path) -> list[Path]:
    """Return the staging folders of a workspace whose outputs are committed and may not have been moved."""
    return [commit_file.parent for commit_file in sorted(root.glob(f".gti/staging/*/{COMMIT_FILE}"))]


def is_committed(staging: Path) -> bool:
    """Return whether the work in a staging folder counts as done: its commit was written, and is carried out."""
    return (staging / COMMIT_FILE).is_file()


def roll_forward(root: Path, staging: Path) -> None:
    """Carry out the commit in a staging folder; it may have been carried out in part."""
    payload = json.loads((staging / COMMIT_FILE).read_text("utf-8"))
    for output in payload["manifest"]["outputs"]:
        source, target = staging / FILES / output, root / output
        if not source.exists():
            continue  # moved before the kill
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() or source.is_dir():  # a rename replaces a file or a link to one, by a file alone
            _remove(target)
        source.replace(target)
    for output in payload.get("remove", []):
        _remove(root / output)
    # The manifest comes last: as long as it is missing or old, the new outputs are not taken for finished.
    write_json(root / payload["manifest_path"], payload["manifest"])
    (staging / COMMIT_FILE).unlink()
    shutil.rmtree(staging, ignore_errors=True)


def outdated_outputs(root: Path, replaced: Manifest | None, new: Manifest) -> list[str]:
    """List the files to remove: outputs of the replaced manifest that the new one lacks and that nobody has edited."""
    if replaced is None:
        return []
    names = [name for name in replaced.outputs if name not in new.outputs]
    # A manifest is a file that anybody may edit: never remove anything outside the workspace.
    inside = [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]
    return [
        name
        for name in inside
        if (root / name).exists() and digest_path(root / name, skip=CHECKPOINT_MANIFEST) == replaced.outputs[name]
    ]


def apply_umask(folder: Path) -> None:
    """Give all files below a folder the permissions of the user's umask; safetensors lets only the owner read them."""
    umask = os.umask(0)  # the mask can only be read by setting it
    os.umask(umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def _remove(path: Path) -> None:
    """Remove a file, a folder, or a link; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
