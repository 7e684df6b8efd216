from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gti_cli.errors import InputError
from gti_cli.serving import serve as module
from gti_cli.serving.serve import serve

ROOT = Path(__file__).parents[2]
# A server whose model is made up and slow: nothing heavy is imported.
PROGRAM = """
import time
from gti_cli import console
from gti_cli.serving import loading, serve
from tests.support.serving import FakeRecommender

class Slow(FakeRecommender):
    def recommend(self, histories, **keywords):
        if ["i20"] in histories:
            print("begun", flush=True)
        time.sleep(0.3)
        return super().recommend(histories, **keywords)

console.configure(json_output=True, quiet=True)
loading.make_loader = lambda *arguments, **keywords: lambda name: Slow()
serve.serve(port=0, max_wait_ms=0.0)
print("ended")
"""


def test_a_real_server_survives_clients_that_leave_and_finishes_what_runs() -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = httpx2.URL(json.loads(process.stdout.readline())["url"])
            body = b'{"history":["i7"],"k":1}'
            head = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            for content in (b"Content-Length: 24\r\n\r\n" + body, b"Content-Length: 24\r\n\r\n{"):
                with socket.create_connection((address.host, address.port or 0)) as connection:
                    connection.sendall(head + content)  # and leaves, before the answer or within the body

            def ask(n: int) -> str:
                answer = httpx2.post(address.join("/recommend"), json={"history": [f"i{n}"], "k": 1}, timeout=20)
                return str(answer.json()["items"][0]["item_id"])

            with ThreadPoolExecutor(8) as clients:
                assert list(clients.map(ask, range(8))) == [f"i{n + 1}" for n in range(8)]
                last = clients.submit(ask, 20)
                assert process.stdout.readline() == "begun\n"
                process.send_signal(signal.SIGTERM)
                assert last.result() == "i21"
            assert process.stdout.readline() == "ended\n"
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_a_port_in_use_is_an_error_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any, **keywords: Any) -> Any:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("gti_cli.serving.loading.make_loader", lambda *arguments, **keywords: never)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1, port {port}"):
            serve(port=port)
    with pytest.raises(InputError, match="is no address"):
        serve(host="no-such-host.invalid", api_key_file=Path("keys"))


def test_missing_packages_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(InputError) as refused:
        serve()
    assert "uvicorn" in str(refused.value)
    assert "pip install '.[serve]'" in str(refused.value)
