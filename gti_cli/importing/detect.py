"""Which format the files of an import have."""

from __future__ import annotations

from gti_cli.errors import InputError, list_names
from gti_cli.importing.formats import amazon, lc_rec, mind, movielens, recbole, shops
from gti_cli.importing.formats.base import Files, Format

# Formats with names of their own first: Amazon's files are recognised by the fields of their first record.
FORMATS: tuple[Format, ...] = (
    *recbole.FORMATS,
    *lc_rec.FORMATS,
    *movielens.FORMATS,
    *mind.FORMATS,
    *shops.FORMATS,
    *amazon.FORMATS,
)
FORMAT_NAMES = tuple(form.name for form in FORMATS)


def find_format(files: Files, name: str | None) -> Format:
    """The format of some files.

    Args:
        files: The files.
        name: What the caller says it is; None: to be recognised.

    Returns:
        The format.

    Raises:
        InputError: There is no format of that name, or the files are of none or of several.
    """
    if name is not None:
        chosen = next((form for form in FORMATS if form.name == name), None)
        if chosen is None:
            raise InputError(f"--format {name!r} is not known", remedy=f"use one of {', '.join(FORMAT_NAMES)}")
        return chosen
    fitting = [form for form in FORMATS if form.recognise(files)]
    if not fitting:
        raise InputError(
            "these files have no format that gti recognises",
            where=list_names([file.path for file in files], 3),
            remedy=f"name it by --format ({', '.join(FORMAT_NAMES)}), or the columns by --columns user_id=…,item_id=…",
        )
    if len(fitting) > 1:
        raise InputError(
            f"these files could be {' or '.join(form.title for form in fitting)}",
            where=list_names([file.path for file in files], 3),
            remedy="give one data set at a time, or name its --format",
        )
    return fitting[0]
