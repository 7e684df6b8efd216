"""How the recommenders of a server are loaded, at the start and by a reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.workspace import Workspace

if TYPE_CHECKING:
    from gti_cli.recommender.recommender import Recommender


def make_loader(workspace: Path | str, checkpoint: str | None, **keywords: Any) -> Callable[[str | None], Recommender]:
    """Return what loads the recommenders of a server.

    Args:
        workspace: Folder of the workspace.
        checkpoint: The checkpoint of the command line.
        **keywords: Further keywords of `Recommender.load`.

    Returns:
        A function that loads the checkpoint of the command line (None), or another one of the workspace by its name.
    """
    from gti_cli.recommender.recommender import Recommender

    def load(name: str | None) -> Recommender:
        """Load the checkpoint that is named, or the one that the server was started with."""
        if name is not None and name != checkpoint:
            _check_is_in(Workspace(workspace), name)
        return Recommender.load(workspace, name if name is not None else checkpoint, **keywords)

    return load


def _check_is_in(space: Workspace, name: str) -> None:
    """Refuse names that are none of the workspace: a client must not have the server read any folder."""
    if name not in space.manifests():
        raise InputError(
            f"the workspace has no checkpoint {name!r}", remedy="give the name of a checkpoint that 'gti status' lists"
        )
