"""Files on web servers and in other storage (``s3://``, ``gs://``, … by fsspec): copied to this machine and kept there.

The copies lie in the cache of the `datasets` library. A copy is used again as long as the storage says that the file is
still the same (by its ETag or time of change). What storage says nothing about is copied each time.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from gti_cli import console, network
from gti_cli.errors import InputError, first_line
from gti_cli.tables.sources.shards import ENDINGS, KINDS, Shard, ending_of
from gti_cli.tables.sources.web import WebServer
from gti_cli.workspace.files import replacing

_VERSION_KEYS = ("ETag", "etag", "md5Hash", "Last-Modified", "LastModified", "last_modified", "mtime", "updated")


def copy_files(url: str) -> list[Shard]:
    """Bring the files of a table to this machine.

    Args:
        url: A file; or with ``*`` several; or, where the storage has folders, a folder.

    Raises:
        InputError: When the storage needs a package that is not installed, or is not known.
        InputError: When there is no such file, it has an unknown ending, it cannot be copied, or ``--offline`` forbids
            to fetch it.
    """
    network.refuse_url(url)
    try:
        system, path = _open_storage(url)
        paths = _find(system, path, url)
        return [Shard(_copy(system, path, name), name) for path, name in paths]
    except InputError:
        raise
    except FileNotFoundError as cause:
        raise InputError("no such file", where=url, remedy="check the address") from cause
    except Exception as cause:  # each storage raises errors of its own libraries
        raise InputError(
            f"cannot be read: {first_line(cause)}",
            where=url,
            remedy="check the address, the network and the access rights",
        ) from cause


def _open_storage(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    if url.startswith(("http://", "https://")):
        return WebServer(), url
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except ImportError as cause:
        raise InputError(f"a package is missing: {first_line(cause)}", where=url, remedy="install it by pip") from cause
    except ValueError as cause:
        raise InputError(
            f"this kind of address is not known: {first_line(cause)}",
            where=url,
            remedy="use hf://, https://, s3:// or another one that fsspec knows",
        ) from cause
    return system, path


def _find(system: Any, path: str, url: str) -> list[tuple[str, str]]:
    """Return path and name of each file."""
    if isinstance(system, WebServer):
        return [(path, url)]
    if "*" in path:
        paths = sorted(found for found in system.glob(path) if not system.isdir(found))
        if not paths:
            raise InputError("no file matches", where=url, remedy="check the address")
    elif ending_of(path) not in ENDINGS and system.isdir(path):
        paths = sorted(found for found in system.find(path) if ending_of(found) in ENDINGS)
        if not paths:
            raise InputError("the folder holds no table", where=url, remedy=KINDS)
    else:
        return [(path, url)]
    return [(found, system.unstrip_protocol(found)) for found in paths]


def _copy(system: Any, path: str, name: str) -> Path:
    """Copy a file to the cache unless the same version of it is there; returns the copy."""
    from filelock import FileLock

    base = path.split("?")[0].rstrip("/").rsplit("/", 1)[-1] or "file"
    facts = system.info(path)
    version = next((str(facts[key]) for key in _VERSION_KEYS if facts.get(key)), "")
    key = hashlib.sha256(f"{name}\n{version}\n{facts.get('size')}".encode()).hexdigest()
    target = cache_folder() / key[:40] / base
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target.parent}.lock"):  # several processes may want the same file
        if not (version and target.exists()):
            size = f" ({facts['size'] / 1e6:,.1f} MB)" if facts.get("size") else ""
            console.note(f"downloading {name}{size}")
            with replacing(target) as temporary:
                system.get_file(path, str(temporary))
    return target


def cache_folder() -> Path:
    """Return the folder of the copies, inside the cache of the `datasets` library."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(HF_HOME) / "datasets") / "gti-downloads"
