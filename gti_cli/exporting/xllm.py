"""The catalogue for xLLM (``--backend rec``): a binary file of records of 20 bytes, one for each item.

A record is the item as a signed integer of 8 bytes and its three tokens as signed integers of 4 bytes, little-endian,
without a header. xLLM holds exactly three tokens for an item (`REC_TOKEN_SIZE`), and reads the file for models of the
type ``onerec`` alone, from the name that ``vocab_file`` in their ``tokenizer_config.json`` gives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.errors import InputError
from gti_cli.exporting.engine_catalogue import EngineCatalogue, WrittenFile
from gti_cli.workspace.files import replacing

LEVELS = 3
RECORD = np.dtype([("item", "<i8"), ("tokens", "<i4", (LEVELS,))])
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")


def check_levels(levels: int) -> None:
    """Refuse semantic IDs that do not have three levels.

    Raises:
        InputError: When they have another number of levels.
    """
    if levels != LEVELS:
        raise InputError(
            f"xLLM holds exactly three tokens for each item, and these semantic IDs have {levels} levels",
            remedy="build the IDs with --levels 3 (and without --collisions suffix, which adds a level)",
        )


def write_vocabulary(path: Path, catalogue: EngineCatalogue, *, force: bool = False) -> list[WrittenFile]:
    """Write the records, and beside them the table of item numbers where item ids are no whole numbers.

    Args:
        path: The binary file, written under a temporary name and renamed.
        catalogue: The catalogue. Without token ids the codes themselves are written, each level from 0.
        force: Replace a table of item numbers that is there already.

    Returns:
        The vocabulary, and the table ``PATH.items.parquet`` if there is one.

    Raises:
        InputError: When the semantic IDs do not have three levels, or the table is there already.
    """
    check_levels(catalogue.levels)
    numbers = whole_numbers(catalogue.item_ids)
    records = np.empty(len(catalogue.item_ids), dtype=RECORD)
    records["item"] = np.arange(len(records)) if numbers is None else numbers
    records["tokens"] = catalogue.item_tokens()
    written = [WrittenFile(path, "item number and three tokens", len(records))]
    if numbers is not None:
        _write_records(path, records)
        return written
    names = path.with_name(f"{path.name}.items.parquet")
    if names.exists() and not force:
        raise InputError("the file is there already", where=str(names), remedy="pass --force to replace it")
    console.note(f"xLLM numbers its items, and these item ids are no whole numbers: {names.name} has the id of each")
    with replacing(names) as temporary:
        tables.write(temporary, {"item_number": records["item"], "item_id": list(catalogue.item_ids)})
        _write_records(path, records)
    return [*written, WrittenFile(names, "item id of each item number", len(records))]


def whole_numbers(item_ids: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Return the item ids as integers of 8 bytes; None where one of them is written otherwise, such as ``"007"``."""
    if not all(_WHOLE_NUMBER.fullmatch(item) for item in item_ids):
        return None
    numbers, limits = [int(item) for item in item_ids], np.iinfo(np.int64)
    within = all(limits.min <= number <= limits.max for number in numbers)
    return np.asarray(numbers, dtype=np.int64) if within else None


def _write_records(path: Path, records: npt.NDArray[np.void]) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(records.tobytes())
