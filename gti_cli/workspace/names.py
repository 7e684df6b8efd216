"""Names of artifacts in a workspace: which folders group several, and which names a user may choose."""

from __future__ import annotations

import re

from gti_cli.errors import InputError

GROUPS = ("evaluation", "diagnostics")  # folders with one artifact for each evaluation or diagnosis
_RESERVED = (*GROUPS, "semantic_ids", "extended", "items", "embeddings", "codebooks")


def check_output_name(name: str, *, default: str, start: str | None = None, option: str = "--name") -> None:
    """Check the value of ``--name``, or of another option that names an output, before anything is written.

    Args:
        name: The name of the output's folder.
        default: The default name of this stage's output, which is allowed although it may be reserved.
        start: The name of the artifact that the stage starts from; the output must not replace it.
        option: The option, for the error line.

    Raises:
        InputError: When the name is no plain folder name (it could lie outside the workspace).
        InputError: When another stage writes under this name.
        InputError: When the name is ``start``.
    """
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    if not plain:
        raise InputError(
            f"{option} {name!r} is no plain folder name",
            remedy=f"use letters, digits, '.', '_' and '-', as in {default}; no '.' or '-' at the start",
        )
    if name in _RESERVED and name != default:
        raise InputError(f"{option} {name!r} is what gti calls another file or folder", remedy="give another name")
    if name == start:
        raise InputError(f"{option} {name!r} is the checkpoint to start from", remedy="give the output another name")
