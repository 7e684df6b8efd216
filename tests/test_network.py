"""The hub that cannot be reached is asked once and for a short time; ``--offline`` asks nobody."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets.config
import pytest
from huggingface_hub import constants

from gti_cli import network
from gti_cli.app import run
from gti_cli.errors import InputError

URL = "https://example.invalid/items.csv"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries may ask the hub, and nothing is known of it; all is put back behind the test."""
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(variable, "0")
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(network, "_state", network._State())


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server on this machine that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_cache_alone() -> bool:
    states = {constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE, os.environ["HF_HUB_OFFLINE"] == "1"}
    assert len(states) == 1
    return states.pop()


def test_a_hub_that_answers_is_asked(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server}")
    assert network.hub_answers("some/lm") and not is_cache_alone()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert network.hub_answers("other/lm")  # one connection is enough


def test_a_hub_that_does_not_answer_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert not network.hub_answers("some/lm") and is_cache_alone()
    assert not network.hub_answers("other/lm")
    assert capsys.readouterr().err == "some/lm: the hub does not answer; looking in its cache on this machine\n"


def test_a_name_server_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "SECONDS", 0.05)
    tried, forever = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        tried.set()
        forever.wait(60)
        raise OSError

    monkeypatch.setattr(network.socket, "create_connection", hang)
    assert not network.hub_answers("some/lm") and tried.is_set() and not forever.is_set()
    forever.set()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:{}", "127.0.0.1:{}"])
def test_behind_a_proxy_the_proxy_is_tried(proxy: str, server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv("https_proxy", proxy.format(server))
    assert network.hub_answers("some/lm")


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert network._address("https://huggingface.co") == ("huggingface.co", 443)
    assert network._address("http://mirror:8080/hub") == ("mirror", 8080)
    monkeypatch.setenv("https_proxy", "http://gate:3128")
    monkeypatch.setenv("no_proxy", "inside.org")
    assert network._address("https://huggingface.co") == ("gate", 3128)
    assert network._address("https://inside.org") == ("inside.org", 443)


def test_a_missing_model_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hub's library alone would try for 23 seconds."""
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    (tmp_path / "words.csv").write_text("token\nhello\n")
    started = time.monotonic()
    line = ["extend", "--model", "some/absent-lm", "--tokens", str(tmp_path / "words.csv")]
    assert run([*line, "-w", str(tmp_path / "w")]) == 2
    assert time.monotonic() - started < 10
    assert "some/absent-lm: the hub does not answer" in capsys.readouterr().err


def no_socket(*_: Any, **__: Any) -> Any:
    raise AssertionError("a connection was opened")


def test_offline_opens_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, no_socket)
    monkeypatch.setattr(socket, "getaddrinfo", no_socket)
    (tmp_path / "words.csv").write_text("token\nhello\n")
    (tmp_path / "items.csv").write_text("item_id,title\n1,red dress\n2,blue coat\n")
    small = ["--levels", "1", "--codes", "2"]
    for line, words in (
        (["extend", "--model", "some/absent-lm", "--tokens", str(tmp_path / "words.csv")], "no such checkpoint"),
        (["build-ids", URL], "not on this machine, and --offline was given"),
        (["build-ids", "hf://me/none"], "not in the cache"),
        (["build-ids", "hf://datasets/me/none/x.csv"], "not in the cache"),
        (["build-ids", str(tmp_path / "items.csv"), "--encoder", "a/b", *small], "cannot be loaded as a text encoder"),
    ):
        assert run([*line, "--offline", "-w", str(tmp_path / "w")]) == 2
        assert words in capsys.readouterr().err
        assert is_cache_alone()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert not list((tmp_path / "w").glob("[!.]*"))


def test_files_of_this_machine_are_no_network() -> None:
    network.configure(offline=True)
    network.refuse_url("file:///tmp/items.csv")
    with pytest.raises(InputError, match="--offline was given"):
        network.refuse_url("s3://bucket/items.csv")
    network.configure()
    network.refuse_url(URL)
    assert is_cache_alone()  # to the end of the process: a library may have noted it
