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

    try:
        with waiting_for_hub(name):
            cached_file(name, "config.json")
    except (OSError, ValueError) as error:  # a ValueError where it can be no model's name
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
        raise InputError(
            f"no such checkpoint, folder or hub model: {first}", where=name, remedy=f"check the name: {held(workspace)}"
        ) from error


def held(workspace: Workspace) -> str:
    """In words, the checkpoints of a workspace, for whoever mistyped one."""
    names = [name for name in workspace.manifests() if (workspace.path(name) / CHECKPOINT_MANIFEST).is_file()]
    return f"workspace {workspace.root} holds {', '.join(names) or 'no checkpoint'}"


@contextmanager
def waiting_for_hub(name: str) -> Iterator[None]:
    """The hub's library prints two lines for each of its many tries: here it is one note, where it has to try again."""
    logger = logging.getLogger("huggingface_hub")
    before, propagated = logger.handlers[:], logger.propagate
    logger.handlers, logger.propagate = (
        [_Once(f"{name}: no such folder here, and the hub does not answer; waiting")],
        False,
    )
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before, propagated


class _Once(logging.Handler):
    """Says ``note`` at the first warning, and nothing else."""

    def __init__(self, note: str) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        """Of the library's warnings the first counts."""
        if self._note:
            console.note(self._note)
        self._note = ""
