"""The client for web servers: what a server says of a file, and answers that cannot be used."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from gti_cli.tables.sources.web import WebServer
from tests.support.table_sources import FileServer, serve_files


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files() as server:
        server.files["/a"] = b"abc"
        yield server


def test_a_file_and_what_the_server_says_of_it(server: FileServer, tmp_path: Path) -> None:
    web = WebServer()
    assert web.info(f"{server.url}/a") == {"ETag": f'"{hashlib.sha256(b"abc").hexdigest()}"', "size": 3}
    assert server.downloads() == []
    web.get_file(f"{server.url}/a", str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_a_missing_file(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WebServer().info(f"{server.url}/b")
    with pytest.raises(FileNotFoundError):
        WebServer().get_file(f"{server.url}/b", str(tmp_path / "b"))


class Refusing(StreamRequestHandler):
    """A server that refuses HEAD, and breaks off in the middle of a file."""

    def handle(self) -> None:
        if self.rfile.readline().startswith(b"HEAD"):
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")


def test_a_server_that_refuses_or_breaks_off(tmp_path: Path) -> None:
    with ThreadingTCPServer(("127.0.0.1", 0), Refusing) as listener:
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{listener.server_address[1]}/a"
        try:
            assert WebServer().info(url) == {}
            with pytest.raises(OSError, match=r"broke after 3 of 9 bytes|3 bytes read, 6 more expected"):
                WebServer().get_file(url, str(tmp_path / "a"))
        finally:
            listener.shutdown()
