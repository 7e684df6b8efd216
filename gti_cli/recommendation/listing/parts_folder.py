"""Where finished parts of a long `gti recommend --input` lie: in a folder, until the lists are written.

All processes of a launch by torchrun find the same folder, each by itself, so that they need not talk to one another:
a file system that they share is enough, on one machine or several. An interrupted run goes on from what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.recommender.files import RecommenderFiles
from gti_cli.workspace.inputs import digest_input
from gti_cli.workspace.manifest import canonical_digest, digest_path

_FORMAT = 2  # Raise it when the same request gives other parts.


def parts_folder(
    parts: Path | str,
    files: RecommenderFiles,
    tables: Mapping[str, Path | str | None],
    options: Mapping[str, Any],
) -> Path:
    """Return the folder of one request below ``parts``: another request has another one.

    Args:
        parts: Folder of the caller.
        files: The recommender.
        tables: The tables that are read, by what they are; they count by content.
        options: All options that change the lists, as JSON values.
    """
    request = {
        "format": _FORMAT,
        "items": files.catalogue.digests,
        "model": [_digest_checkpoint(files.checkpoint), files.blend.manifest.identity if files.blend else None],
        "embeddings": digest_path(files.embeddings) if files.embeddings is not None else None,
        "tables": {name: digest_input(table) for name, table in tables.items() if table is not None},
        "options": dict(options),
    }
    return Path(parts) / canonical_digest(request)[:16]


def _digest_checkpoint(checkpoint: Checkpoint | None) -> list[str]:
    """What a checkpoint, and the base of an adapter, are known by: their files, or a name and revision on the hub."""
    if checkpoint is None:
        return []
    path = Path(checkpoint.path)
    own = digest_path(path) if path.is_dir() else checkpoint.path
    return [own, checkpoint.pinned or "", *_digest_checkpoint(checkpoint.base)]
