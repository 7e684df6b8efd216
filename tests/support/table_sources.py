"""Places of tables for tests: a cache of the Hugging Face hub and a file server, both on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


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
