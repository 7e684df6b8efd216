"""Places of tables for tests: a cache of the Hugging Face hub and a file server, both on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote

import pyarrow as pa
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def rename(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Rename some columns. Before version 17, pyarrow itself takes the names of all columns alone."""
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def use_folder_as_caches(folder: Path, monkeypatch: pytest.MonkeyPatch, *, offline: bool = True) -> Path:
    """Let the libraries of the hub keep everything in a folder; returns the hub's cache."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "datasets"))
    return folder / "hub"


def put_into_hub_cache(hub: Path, name: str, files: Mapping[str, bytes], commit: str = COMMIT) -> Path:
    """Lay out a data set in the hub's cache as the hub's own client does; returns the folder of the commit."""
    root = hub / f"datasets--{name.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    for path, content in files.items():
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(content)
        (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / path).unlink(missing_ok=True)
        (snapshot / path).symlink_to(blob)
    return snapshot


class FileServer:
    """A web server of files on 127.0.0.1.

    Attributes:
        files: Path -> content.
        etags: Whether the server says a version of each file.
        requests: Method and path of each request.
        url: Where it serves.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etags = True
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    def downloads(self) -> list[str]:
        """The paths of the files that were fetched."""
        return [path for method, path in self.requests if method == "GET"]


@contextmanager
def serve_files() -> Iterator[FileServer]:
    """Run a `FileServer` inside the block."""
    server = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, with_body: bool) -> None:
            server.requests.append((self.command, self.path))
            content = server.files.get(self.path.split("?")[0])
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            if server.etags:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def do_GET(self) -> None:
            self._answer(True)

        def do_HEAD(self) -> None:
            self._answer(False)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


@contextmanager
def serve_hub(repositories: Mapping[str, Mapping[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Run a small Hugging Face hub of data sets inside the block, all at `COMMIT`."""
    import datasets.config
    import huggingface_hub.constants

    server = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            server.requests.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(self.path.split("?")[0])
            if match := re.fullmatch(r"/datasets/(\w+/\w+)/resolve/[^/]+/(.+)", path):
                content = repositories.get(match[1], {}).get(match[2])
                code = "EntryNotFound" if match[1] in repositories else "RepoNotFound"
            elif match := re.fullmatch(
                r"/api/datasets/(\w+/\w+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", path
            ):
                files, code = repositories.get(match[1]), "RepoNotFound"
                if files is not None and match[3] not in (None, "main", COMMIT):
                    files, code = None, "RevisionNotFound"
                content = None if files is None else json.dumps(_hub_facts(match, files, body)).encode()
            else:
                content, code = None, "EntryNotFound"
            self.send_response(404 if content is None else 200)
            self.send_header("X-Error-Code", code) if content is None else None
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(content or b"").hexdigest()}"')
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content or b"")

        do_GET = do_HEAD = do_POST = _answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            listener.shutdown()


def _hub_facts(match: re.Match[str], files: Mapping[str, bytes], body: bytes) -> Any:
    """What the hub says of a data set, of the files below a folder, or of some paths."""
    listed = [
        {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": path}
        for path, content in files.items()
    ]
    folders = {str(parent) for path in files for parent in list(PurePosixPath(path).parents)[:-1]}
    listed += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in sorted(folders)]
    if match[2] == "tree":
        return [entry for entry in listed if not match[4] or str(entry["path"]).startswith(match[4].rstrip("/") + "/")]
    if match[2] == "paths-info":
        asked = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
        return [entry for entry in listed if entry["path"] in asked]
    return {"id": match[1], "sha": COMMIT, "siblings": [{"rfilename": path} for path in files], "tags": []}
