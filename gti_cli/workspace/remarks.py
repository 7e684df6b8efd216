"""Remarks on input files: what was not as expected and yet could be read.

A remark is printed once and stands in the manifest of every stage that has the file among its inputs.
"""

from __future__ import annotations

from pathlib import Path

from gti_cli import console

# Path, time of change and size of a file -> its remarks. A file that was written again begins without any.
_Version = tuple[str, int, int]
_remarks: dict[_Version, list[str]] = {}


def _version(path: Path) -> _Version:
    try:
        status = path.stat()
    except OSError:
        return (str(path), 0, 0)
    return (str(path), status.st_mtime_ns, status.st_size)


def remark(path: Path | str, message: str) -> None:
    """Print a remark on a file as a note, unless it was printed before, and keep it for manifests.

    Args:
        path: The file.
        message: What was found, and what was done about it.
    """
    known = _remarks.setdefault(_version(Path(path)), [])
    if message not in known:
        known.append(message)
        console.note(f"{path}: {message}")


def remarks_on(path: Path | str) -> list[str]:
    """Return the remarks on a file as it is now, or on all files of a folder.

    Args:
        path: The file or folder.
    """
    place = Path(path)
    return [
        message
        for version, messages in _remarks.items()
        if (file := Path(version[0])) == place or place in file.parents
        if version == _version(file)
        for message in messages
    ]
