"""Names that are neither in the workspace nor a folder: is there such a model on the hub, or in its cache?"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace


def require_on_hub(name: str, workspace: Workspace) -> None:
    """Ask the hub (or its cache, without the network) once for ``name``, before tokenizer and weights are asked for.

    Raises:
        InputError: it has no such model, or cannot be asked; the line says what the workspace has, for a mistyped name.
    """
    from transformers.utils.hub import cached_file

    console.note(f"{name}: not in {workspace.root} and no folder; asking the hub")
    try:
        with without_retries_told():
            cached_file(name, "config.json")
    except (OSError, ValueError) as error:  # a ValueError where it can be no model's name
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
        have = [other for other in workspace.manifests() if (workspace.path(other) / CHECKPOINT_MANIFEST).is_file()]
        holds = f"workspace {workspace.root} holds {', '.join(have) or 'no checkpoint'}"
        raise InputError(
            f"no such checkpoint, folder or hub model: {first}",
            where=name,
            remedy=f"check the name: {holds}",
        ) from error


@contextmanager
def without_retries_told() -> Iterator[None]:
    """The hub's library says a line or two for each of its tries; our own line says how it ended."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
