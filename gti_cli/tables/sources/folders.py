"""Folders of table files: which splits they hold, as the `datasets` library finds them.

Splits come from the names of files and folders (``train-00000-of-00002.parquet``, ``test/part-1.csv``), or from the
YAML header of the folder's ``README.md``. A folder that `datasets` itself saved has a list of its files.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gti_cli import console
from gti_cli.errors import InputError, list_some
from gti_cli.tables.sources.shards import ENDINGS, KINDS, ONLY_SPLIT, Shard, ending_of

_NUMBERED = re.compile(r"(.*)-\d{5}-of-(\d{5})")  # the shards of one split say how many they are
CHECK_NAME = "check the name, and HF_TOKEN if it is private"
# What the YAML header of a data set may ask of its reader, and gti does not do: reading without it would be wrong.
_READER_OPTIONS = ("names", "header", "skiprows", "quotechar", "quoting", "escapechar", "encoding", "decimal", "field")


def folder_splits(folder: Path, where: str) -> dict[str, list[Shard]]:
    """Return the files of a folder by split.

    Args:
        folder: The folder.
        where: The folder as the caller named it, for error lines.

    Raises:
        InputError: When the folder holds no tables.
    """
    saved = _saved_splits(folder, where)
    if saved:
        return saved
    splits = read_with_datasets(folder, None, where)
    _report_unread_files(folder, splits, where)
    for name, missing in incomplete_splits(splits).items():
        console.warn(f"{where}: split {name} lacks {missing}; the others are read")
    return splits


def _saved_splits(folder: Path, where: str) -> dict[str, list[Shard]]:
    """Return the files of a folder that `datasets` saved with ``save_to_disk``; {} for any other folder."""
    try:
        if (folder / "dataset_dict.json").is_file():
            names = json.loads((folder / "dataset_dict.json").read_text("utf-8"))["splits"]
            return {name: _saved_files(folder / name) for name in names}
        if (folder / "state.json").is_file():
            state_splits = {ONLY_SPLIT: _saved_files(folder)}
            return state_splits if state_splits[ONLY_SPLIT] else {}
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as cause:
        raise InputError(
            "the data set that was saved there is damaged", where=where, remedy="save it again with save_to_disk"
        ) from cause
    return {}


def _saved_files(folder: Path) -> list[Shard]:
    state = json.loads((folder / "state.json").read_text("utf-8"))
    files = [folder / entry["filename"] for entry in state.get("_data_files", [])]
    return [Shard(path, str(path)) for path in files]


def read_with_datasets(folder: Path, config: str | None, where: str) -> dict[str, list[Shard]]:
    """Return the files of a folder by split, as `datasets.load_dataset_builder` finds them.

    Args:
        folder: The folder.
        config: The configuration, where the folder's ``README.md`` lists several.
        where: The folder as the caller named it.

    Raises:
        InputError: When the folder holds no data, or `datasets` refuses it.
    """
    import datasets

    with library_errors(where):
        builder = datasets.load_dataset_builder(str(folder.resolve()), config)
    return as_shards(builder, where)


def as_shards(builder: Any, where: str, folder: Path | None = None, prefix: str = "") -> dict[str, list[Shard]]:
    """Return the files that a `datasets` builder would read, by split.

    Args:
        builder: A `datasets.DatasetBuilder`.
        where: The data set as the caller named it.
        folder: The folder of this machine that takes the place of ``prefix``; None where the files are here already.
        prefix: How the addresses of the data set's files begin, with a slash at the end.

    Raises:
        InputError: When the data set asks to be read with options that gti does not know.
    """
    defaults = type(builder.config)()
    for option in _READER_OPTIONS:
        value = getattr(builder.config, option, None)
        if value != getattr(defaults, option, None):
            raise InputError(
                f"the data set asks to read its files with {option}={value!r}, which gti does not do",
                where=where,
                remedy="save it as Parquet (datasets.load_dataset(…).to_parquet) and give that file",
            )
    separator = getattr(builder.config, "sep", None) or ""
    splits: dict[str, list[Shard]] = {}
    for split, files in (builder.config.data_files or {}).items():
        # A file may fit several of the patterns of its split.
        places = list(dict.fromkeys(str(file) for file in files))
        splits[str(split)] = [
            Shard(Path(place) if folder is None else folder / place.removeprefix(prefix), place, _delimiter(separator))
            for place in places
            if ending_of(place) in ENDINGS
        ]
    splits = {split: shards for split, shards in splits.items() if shards}
    if not splits:
        raise InputError("it holds no table", where=where, remedy=KINDS)
    return splits


def _delimiter(separator: str) -> str:
    """Return what separates the columns, where the endings of the files do not say it already."""
    return "" if separator in (",", "\t") else separator


@contextmanager
def library_errors(where: str) -> Iterator[None]:
    """Turn the errors with which `datasets` refuses a data set into one line each.

    Args:
        where: The data set as the caller named it.

    Raises:
        InputError: In place of such an error.
    """
    import datasets

    if console.is_quiet():
        datasets.disable_progress_bars()
    try:
        yield
    except RuntimeError as cause:
        if "script" not in str(cause):
            raise
        raise InputError(
            "this data set is a loading script, which gti never runs",
            where=where,
            remedy="give its files: a glob, or for a data set of the hub hf://datasets/NAME/FOLDER/*.parquet; the hub "
            "may also have a copy of it in Parquet, hf://NAME@refs/convert/parquet",
        ) from cause
    except datasets.exceptions.DatasetNotFoundError as cause:
        raise InputError(_sentence(cause), where=where, remedy=CHECK_NAME) from cause
    except FileNotFoundError as cause:
        raise InputError(f"no data there: {_sentence(cause)}", where=where, remedy=KINDS) from cause
    except ValueError as cause:  # no such configuration, or several and none named
        raise InputError(_sentence(cause), where=where, remedy="name a configuration: hf://NAME/CONFIG") from cause


def _sentence(error: BaseException) -> str:
    """Return an error's message without the examples of use that some of the library's messages end with."""
    return " ".join(re.split(r"\s*Example of usage", str(error))[0].split())


def _report_unread_files(folder: Path, splits: dict[str, list[Shard]], where: str) -> None:
    """Warn of table files that are left out: `datasets` reads files of one kind, that of most files."""
    read = {shard.path.resolve() for shards in splits.values() for shard in shards}
    unread = [path for path in table_files(folder) if path.resolve() not in read]
    if unread:
        names = [path.relative_to(folder).as_posix() for path in unread]
        console.warn(f"{where}: files of another kind are not read ({list_some(names)}): name them by a glob")


def table_files(folder: Path) -> list[Path]:
    """Return the table files of a folder and of the folders in it, by name; hidden ones are left out."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if ending_of(path.name) in (ending for ending in ENDINGS if ending != ".json")
        and path.is_file()
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]


def incomplete_splits(splits: dict[str, list[Shard]]) -> dict[str, str]:
    """Return split -> which files are missing, of the splits whose files are numbered and not all there.

    Args:
        splits: Split -> its files, numbered as in ``train-00000-of-00002.parquet``, or not.
    """
    missing = {}
    for split, shards in splits.items():
        for (_, total), there in _count_numbered(shards):
            if there < int(total):
                missing[split] = f"{int(total) - there:,} of its {int(total):,} files"
    return missing


def _count_numbered(shards: Sequence[Shard]) -> Iterable[tuple[tuple[str, str], int]]:
    matches = (_NUMBERED.search(str(shard.path)) for shard in shards)
    return Counter((match[1], match[2]) for match in matches if match).items()
