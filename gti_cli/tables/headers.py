"""Names of columns: surrounding spaces, quotes and byte order marks do not belong to a name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gti_cli.errors import InputError, list_some
from gti_cli.workspace.remarks import remark

_QUOTES = "\"'"
_MARK = "\ufeff"  # a byte order mark that another program took for the first letter of the first name


def clean_name(name: str) -> str:
    """Return a column's name without surrounding spaces, quotes and byte order mark; a name of these alone stays."""
    bare = name.strip().strip(_MARK).strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in _QUOTES:
        bare = bare[1:-1].strip()
    return bare or name


def clean_names(names: Sequence[str], path: Path | str) -> list[str]:
    """Clean the names of a table's columns, with a remark on those that change.

    Args:
        names: The names as the file has them.
        path: The file.

    Returns:
        The cleaned names, in the same order.

    Raises:
        InputError: When two different names become one.
    """
    cleaned = [clean_name(name) for name in names]
    changed = list(dict.fromkeys(name for name, bare in zip(names, cleaned, strict=True) if name != bare))
    if not changed:
        return cleaned
    for name in changed:
        same = list(dict.fromkeys(other for other in names if clean_name(other) == clean_name(name)))
        if len(same) > 1:
            raise InputError(
                f"the columns {list_some(same)} differ by spaces or quotes around the name alone",
                where=str(path),
                remedy="rename or drop all but one of them",
            )
    remark(path, f"spaces or quotes around the names of columns were removed ({list_some(changed)})")
    return cleaned


def stored_name(names: Sequence[str], name: str) -> str:
    """Return how a file spells a column.

    Args:
        names: The names as the file has them.
        name: A cleaned name.

    Returns:
        The first of ``names`` that becomes ``name`` when cleaned; ``name`` itself where there is none.
    """
    return next((stored for stored in names if clean_name(stored) == name), name)
