"""Data sets on the Hugging Face hub, found by the `datasets` library and kept in the hub's cache on this machine.

``hf://NAME[/CONFIG][@REVISION]`` is a data set; ``hf://datasets/NAME[@REVISION]/PATH`` names files of it. With
``HF_HUB_OFFLINE=1``, and when the hub does not answer, the cache alone is read. Loading scripts are never run.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gti_cli import console, network
from gti_cli.errors import InputError, first_line
from gti_cli.tables.sources.folders import CHECK_NAME, as_shards, incomplete_splits, library_errors, read_with_datasets
from gti_cli.tables.sources.remote import cache_folder
from gti_cli.tables.sources.shards import ENDINGS, KINDS, ONLY_SPLIT, Selection, Shard, Source, ending_of
from gti_cli.workspace.files import write_json

_DATA_SET = re.compile(r"hf://(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<config>[^@]+))?(?:@(?P<revision>.+))?")
_FILES = re.compile(r"hf://datasets/(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/\w+/[^/]+|[^/]+))?/(?P<path>.+)")
_WHOLE = re.compile(
    r"hf://datasets/(?P<name>[\w.-]+/[\w.-]+(@(refs/\w+/[^/]+|[^/]+))?)/?"
)  # a longer way to write hf://NAME
# Of several HTTP libraries, so by name.
_UNREACHABLE = ("ConnectError", "ConnectTimeout", "ReadTimeout", "ProxyError", "LocalEntryNotFoundError")


@dataclass(frozen=True)
class HubAddress:
    """A data set on the hub, or files of it.

    Attributes:
        text: The address as the caller wrote it, for error lines.
        name: The name of the data set, such as ``"owner/name"``.
        config: The configuration; None means the data set's default.
        revision: A branch, tag or commit; None means the main branch.
        path: The path of files in the data set, perhaps with ``*``; None means the whole data set.
    """

    text: str
    name: str
    config: str | None
    revision: str | None
    path: str | None = None


def parse_address(text: str) -> HubAddress:
    """Parse an address of the hub.

    Args:
        text: The address, without a split.

    Raises:
        InputError: When the address has another form.
    """
    if whole := _WHOLE.fullmatch(text):
        return parse_address(f"hf://{whole['name']}")
    if files := _FILES.fullmatch(text):
        # The slashes of a revision such as refs/convert/parquet are written as %2F in these addresses.
        revision = files["revision"].replace("%2F", "/") if files["revision"] else None
        return HubAddress(text, files["name"], None, revision, files["path"])
    match = _DATA_SET.fullmatch(text)
    if match is None:
        raise InputError(
            "this is no data set of the Hugging Face hub",
            where=text,
            remedy="write hf://OWNER/NAME, hf://OWNER/NAME/CONFIG@REVISION:SPLIT or hf://datasets/OWNER/NAME/FILE",
        )
    return HubAddress(text, match["name"], match["config"], match["revision"])


def find_on_hub(address: HubAddress, instruction: str | None) -> Source:
    """Find a data set, and download the files of the splits that the caller asked for.

    Args:
        address: Where it lies.
        instruction: Which splits, see `Selection`.

    Raises:
        InputError: When there is no such data set, configuration, split or file, or it is a loading script.
        InputError: When the hub does not answer and the cache does not have the files.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return _from_cache(address, instruction, "HF_HUB_OFFLINE is set")
    if not network.hub_answers(address.text):
        return _from_cache(address, instruction, "the hub does not answer")
    find = _find_data_set if address.path is None else _find_files
    console.note(f"{address.text}: asking the Hugging Face hub")
    try:
        with _fewer_lines():
            return find(address, instruction)
    except Exception as cause:  # the libraries of the hub raise errors of several HTTP libraries
        if _is_unreachable(cause):
            console.note(f"{address.text}: the hub does not answer; looking in the cache")
            return _from_cache(address, instruction, f"the hub does not answer ({type(cause).__name__})")
        if isinstance(cause, HfHubHTTPError):
            raise InputError(f"the hub refuses: {first_line(cause)}", where=address.text, remedy=CHECK_NAME) from cause
        raise


def _is_unreachable(error: BaseException) -> bool:
    """Whether an error says that the network or the hub did not answer; it may stand behind another error."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        current = current.__cause__ or current.__context__
    return any(isinstance(one, ConnectionError) or type(one).__name__ in _UNREACHABLE for one in seen)


def _find_data_set(address: HubAddress, instruction: str | None) -> Source:
    import datasets

    with library_errors(address.text):
        builder = datasets.load_dataset_builder(address.name, address.config, revision=address.revision)
    # hf://datasets/NAME@COMMIT, or in old versions of datasets https://huggingface.co/datasets/NAME/resolve/COMMIT. The
    # names of the files begin with the former in every version.
    commit = str(builder.base_path).replace("/resolve/", "@", 1).rpartition("@")[2].split("/")[0]
    prefix = f"hf://datasets/{address.name}@{commit}/"
    splits = as_shards(builder, address.text, Path(), prefix)
    wanted = Selection(address.text, splits, instruction).shards()
    folder = _download(address.name, commit, [shard.path.as_posix() for shard in wanted])
    record = {split: [(s.path.as_posix(), s.name, s.delimiter) for s in shards] for split, shards in splits.items()}
    path = _record_path(address, commit)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"splits": list(record.items())})  # a list keeps their order
    return Source(_below(folder, record), local=False, revision=commit)


def _below(folder: Path, record: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[Shard]]:
    """Return the files of each split in a folder; the record has path, name and delimiter of each."""
    return {
        split: [Shard(folder / path, name, delimiter) for path, name, delimiter in shards]
        for split, shards in record.items()
    }


def _record_path(address: HubAddress, commit: str) -> Path:
    """Return where the splits of a data set are noted, since the hub's cache may have the files of some splits only."""
    key = hashlib.sha256(f"{address.name}\n{address.config}\n{commit}".encode()).hexdigest()
    return cache_folder() / "splits" / f"{key[:40]}.json"


@contextmanager
def _fewer_lines() -> Iterator[None]:
    """Keep the hub's library from printing lines about each of many attempts, and progress with ``--quiet``."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if console.is_quiet():
        disable_progress_bars()
    handlers = logging.getLogger("huggingface_hub").handlers[:]
    for handler in handlers:
        handler.addFilter(_is_error)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _find_files(address: HubAddress, _: str | None) -> Source:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().dataset_info(address.name, revision=address.revision)
    except (RepositoryNotFoundError, RevisionNotFoundError) as cause:
        raise InputError("the hub has no such data set or revision", where=address.text, remedy=CHECK_NAME) from cause
    names = _matching([sibling.rfilename for sibling in info.siblings or []], address)
    folder = _download(address.name, str(info.sha), names)
    return _files_source(address, folder, names, str(info.sha))


def _files_source(address: HubAddress, folder: Path, names: Sequence[str], commit: str) -> Source:
    shards = [Shard(folder / name, f"hf://datasets/{address.name}/{name}") for name in names]
    return Source({ONLY_SPLIT: shards}, local=False, revision=commit)


def _matching(names: Sequence[str], address: HubAddress) -> list[str]:
    """Return the files of a data set that an address with a path names.

    Raises:
        InputError: When there are none.
    """
    path = str(address.path).strip("/")
    matching = [name for name in sorted(names) if _matches(name.split("/"), path.split("/"))]
    if not matching:  # perhaps the path of a folder
        inside = [name for name in sorted(names) if name.startswith(path + "/")]
        matching = [name for name in inside if ending_of(name) in ENDINGS]
    if not matching:
        raise InputError("no file matches", where=address.text, remedy=f"check the path; {KINDS}")
    return matching


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern, of which ``**`` stands for any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _download(name: str, commit: str, files: Sequence[str]) -> Path:
    """Bring files of a data set into the hub's cache; returns the folder of that commit."""
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            name, repo_type="dataset", revision=commit, allow_patterns=[glob.escape(file) for file in files]
        )
    )


def _from_cache(address: HubAddress, instruction: str | None, why: str) -> Source:
    """Find a data set in the hub's cache.

    Args:
        address: Where it lies.
        instruction: Which splits, see `Selection`.
        why: Why the hub is not asked, for the error line.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    remedy = f"run once with the network, or 'hf download --repo-type dataset {address.name}'"
    try:
        place = snapshot_download(
            # No patterns: whether the files that are needed are there is checked below, not for those of the others.
            address.name,
            repo_type="dataset",
            revision=address.revision,
            local_files_only=True,
            allow_patterns=[],
        )
    except (LocalEntryNotFoundError, ValueError) as cause:
        raise InputError(f"not in the cache, and {why}", where=address.text, remedy=remedy) from cause
    folder = Path(place)
    if address.path is not None:
        names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
        return _files_source(address, folder, _matching(names, address), folder.name)
    _refuse_script(folder, address)
    record = _record_path(address, folder.name)
    if record.is_file():
        splits = _below(folder, dict(json.loads(record.read_text("utf-8"))["splits"]))
        wanted = Selection(address.text, splits, instruction).shards()
        absent = [shard for shard in wanted if not shard.path.is_file()]
        missing = f"{len(absent):,} of {len(wanted):,} files" if absent else ""
    else:  # another program has filled the cache
        with _fewer_lines():
            splits = read_with_datasets(folder, address.config, address.text)
        wanted_splits = Selection(address.text, splits, instruction).names()
        incomplete = incomplete_splits({name: splits[name] for name in wanted_splits})
        missing = " and ".join(f"{files} of split {split}" for split, files in incomplete.items())
    if missing:
        raise InputError(f"the cache lacks {missing}, and {why}", where=address.text, remedy=remedy)
    return Source(splits, local=False, revision=folder.name)


def _refuse_script(folder: Path, address: HubAddress) -> None:
    """Refuse a data set with a loading script, as `datasets` refuses it on the hub."""
    if (folder / f"{address.name.split('/')[-1]}.py").is_file():
        with library_errors(address.text):
            raise RuntimeError("Dataset scripts are no longer supported")
