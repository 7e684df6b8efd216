"""The folder of an exported recommender: what may be replaced, and how it is replaced as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gti_cli.errors import InputError
from gti_cli.recommender.exported_folder import FOLDER_MANIFEST


def check_folder(output: Path, force: bool) -> None:
    """Refuse a folder that holds something else than an exported recommender.

    Args:
        output: The folder to write.
        force: Whether an exported recommender may be replaced.

    Raises:
        InputError: When the folder cannot be written, or may not be replaced.
    """
    if Path.cwd().is_relative_to(output.resolve()):
        problem = "this is the folder that you are in, or above it"
        raise InputError(problem, where=str(output), remedy="give -o the name of a new folder")
    _put_back(output)
    if not output.parent.is_dir():
        raise InputError("no such folder", where=str(output.parent), remedy="create it first")
    if output.exists() and not output.is_dir():
        raise InputError("this is a file", where=str(output), remedy="give -o the name of a folder")
    if not output.exists() or not any(output.iterdir()):
        return
    if not (output / FOLDER_MANIFEST).is_file():
        raise InputError("the folder holds other files", where=str(output), remedy="give -o the name of a new folder")
    if not force:
        raise InputError("the folder is there already", where=str(output), remedy="pass --force to replace it")


@contextmanager
def replacing_folder(output: Path) -> Iterator[Path]:
    """Write a folder under a temporary name; on leaving the block without an error it takes the place of ``output``.

    Where it cannot take the place, the old folder is put back.

    Args:
        output: The folder, which `check_folder` let pass.
    """
    temporary = output.with_name(f".{output.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        replaced = _name_while_replaced(output)
        if output.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            output.replace(replaced)
        try:
            temporary.replace(output)
        except BaseException:
            if replaced.exists():
                replaced.replace(output)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _name_while_replaced(output: Path) -> Path:
    """Return the name that the old folder has until the new one is in its place."""
    return output.with_name(f".{output.name}.replaced")


def _put_back(output: Path) -> None:
    """Mend what a kill left that came between the two renames of `replacing_folder`, or right after them."""
    replaced = _name_while_replaced(output)
    if not (replaced / FOLDER_MANIFEST).is_file():
        return
    if output.exists():
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        replaced.replace(output)
