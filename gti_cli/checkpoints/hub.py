"""Names that are neither in the workspace nor a folder: is there such a model on the hub, or in its cache?"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gti_cli import console
from gti_cli.errors import InputError, first_line
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
        raise InputError(
            f"no such checkpoint, folder or hub model: {first_line(error)}",
            where=name,
            remedy=f"check the name: {held(workspace)}",
        ) from error


def held(workspace: Workspace) -> str:
    """In words, the checkpoints of a workspace, for whoever mistyped one."""
    names = [name for name in workspace.manifests() if (workspace.path(name) / CHECKPOINT_MANIFEST).is_file()]
    return f"workspace {workspace.root} holds {', '.join(names) or 'no checkpoint'}"


@contextmanager
def waiting_for_hub(name: str) -> Iterator[None]:
    """The hub's library prints two lines for each of its many tries: here it is one note, where it has to try again."""
    tries = _Tries(name)
    handlers = logging.getLogger("huggingface_hub").handlers[:]
    for handler in handlers:
        handler.addFilter(tries)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(tries)


class _Tries(logging.Filter):
    """Says once that the hub does not answer, instead of its library's lines on tries; what else it says passes."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._told = name, False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the library's own line is shown."""
        line = record.getMessage()
        if "thrown while requesting" not in line and "[Retry " not in line:
            return True
        if not self._told:
            console.note(f"{self._name}: no such folder here, and the hub does not answer; waiting")
        self._told = True
        return False
