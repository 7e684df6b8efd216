"""What a manifest says of the inputs from outside the workspace, so that a changed input is noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gti_cli.errors import InputError
from gti_cli.workspace.manifest import Manifest, canonical_digest, digest_path

_VIEW_KEYS = ("split", "columns")  # what a description says of the part of the files that is read


@runtime_checkable
class DescribesItself(Protocol):
    """An input that is more than one file or folder of this machine."""

    def describe(self) -> dict[str, Any]:
        """Return ``path``, ``bytes`` and ``sha256``, as `describe_files` does."""


def describe_inputs(inputs: Mapping[str, Path | str | None]) -> dict[str, dict[str, Any]]:
    """Return the path, size and SHA-256 of each input file or folder, by role; None values are left out.

    Args:
        inputs: Role -> a path, or an object that describes itself (see `DescribesItself`).

    Raises:
        InputError: When a path does not exist.
    """
    described: dict[str, dict[str, Any]] = {}
    for role, location in inputs.items():
        if location is None:
            continue
        if isinstance(location, DescribesItself):
            described[role] = location.describe()
            continue
        path = Path(location)
        if not path.exists():
            raise InputError("no such file", where=str(path), remedy="check the path")
        size = path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        described[role] = {"path": str(path), "bytes": size, "sha256": digest_path(path)}
    return described


def digest_input(location: Path | str) -> str:
    """Return the SHA-256 by which a manifest knows an input.

    Args:
        location: A path, or an object that describes itself.

    Raises:
        InputError: When a path does not exist.
    """
    return str(describe_inputs({"input": location})["input"]["sha256"])


def is_other_input(manifest: Manifest | None, role: str, location: Path | str) -> bool:
    """Tell whether an artifact was made from another input than this one.

    Args:
        manifest: The manifest of the artifact; None: nothing is known of it.
        role: The role of the input.
        location: A path, or an object that describes itself.

    Returns:
        False where the manifest has no input of this role.
    """
    recorded = manifest.inputs.get(role) if manifest is not None else None
    return recorded is not None and recorded["sha256"] != digest_input(location)


def describe_files(path: str, files: Sequence[Path], view: Mapping[str, Any], *, local: bool) -> dict[str, Any]:
    """Return the description of an input that consists of some files, or is a part of them.

    Args:
        path: The input as the caller named it.
        files: Its files on this machine, in order.
        view: Which part of the files is read, and under which names of columns; {} for files that are read as they are.
        local: Whether these are the caller's own files, which may change, and no copies.

    Returns:
        ``path``, ``bytes``, ``sha256``, the entries of ``view``, and ``files`` where these are not the path alone. The
        SHA-256 of a single file that is read as it is, is that of its bytes.
    """
    size = sum(file.stat().st_size for file in files)
    described: dict[str, Any] = {"path": path, "bytes": size, "sha256": _digest_files(files, view), **view}
    if local and (view or [str(file) for file in files] != [path]):
        described["files"] = [str(file) for file in files]
    return described


def digest_again(described: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 that an input has now; None where its files are not here.

    Args:
        described: The description of the input in a manifest.
    """
    if "files" not in described:
        path = Path(described["path"])
        return digest_path(path) if path.exists() else None
    files = [Path(file) for file in described["files"]]
    view = {key: described[key] for key in _VIEW_KEYS if key in described}
    return _digest_files(files, view) if all(file.is_file() for file in files) else None


def _digest_files(files: Sequence[Path], view: Mapping[str, Any]) -> str:
    digests = [digest_path(file) for file in files]
    return digests[0] if len(digests) == 1 and not view else canonical_digest({"files": digests, **view})
