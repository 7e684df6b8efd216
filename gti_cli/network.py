"""Whether this process may use the network (``--offline``), and whether the Hugging Face hub answers at all."""

from __future__ import annotations

import os
import socket
import sys
import threading
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

from gti_cli import console
from gti_cli.errors import InputError

SECONDS = 5.0  # to wait for the first connection to the hub
# Where the libraries of the hub keep what HF_HUB_OFFLINE said when they were imported.
_SETTINGS = (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE"))
_ON_THIS_MACHINE = ("file://", "local://", "memory://")


@dataclass
class _State:
    """What is known of the network in this process.

    Attributes:
        forbidden: ``--offline`` was given.
        hub_has_answered: The hub could be reached.
    """

    forbidden: bool = False
    hub_has_answered: bool = False


_state = _State()


def configure(*, offline: bool = False) -> None:
    """Apply the option ``--offline`` of a command.

    Args:
        offline: Open no connection. What the hub's cache holds can be used.
    """
    _state.forbidden = offline
    if offline:
        use_cache_alone()


def is_forbidden() -> bool:
    """Tell whether ``--offline`` was given."""
    return _state.forbidden


def refuse_url(url: str) -> None:
    """Refuse a file elsewhere when ``--offline`` was given.

    Raises:
        InputError: When it was, and the file is not on this machine.
    """
    if _state.forbidden and not url.startswith(_ON_THIS_MACHINE):
        raise InputError(
            "this file is not on this machine, and --offline was given",
            where=url,
            remedy="give a copy of it on this machine, or leave --offline out",
        )


def use_cache_alone() -> None:
    """Let the libraries of the hub read their cache and ask nobody, to the end of this process and in its children."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    for module, setting in _SETTINGS:
        if module in sys.modules:
            setattr(sys.modules[module], setting, True)


def hub_answers(name: str) -> bool:
    """Find out whether the hub can be reached, and use its cache alone to the end of the process if it cannot.

    The hub's library tries again for 23 seconds, and that for each of a model's files.

    Args:
        name: What is wanted of the hub, for the note.

    Returns:
        Whether it can be reached; also False where the hub must not be asked (``HF_HUB_OFFLINE``, ``--offline``).
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if not _state.hub_has_answered:
        _state.hub_has_answered = _connects(constants.ENDPOINT)
    if not _state.hub_has_answered:
        console.note(f"{name}: the hub does not answer; looking in its cache on this machine")
        use_cache_alone()
    return _state.hub_has_answered


def _connects(url: str) -> bool:
    """Whether a connection to a server, or to the proxy before it, is made within `SECONDS`."""
    address = _address(url)
    outcome: list[bool] = []

    def connect() -> None:
        """Open a connection, and note that it was possible."""
        try:
            socket.create_connection(address, timeout=SECONDS).close()
        except OSError:
            return
        outcome.append(True)

    # In a thread, because no time limit holds for the look-up of the server's name.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return bool(outcome)


def _address(url: str) -> tuple[str, int]:
    """Host and port to connect to for a URL: those of the proxy where the environment names one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(host):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host = parts.hostname or ""
    return host, parts.port or (443 if parts.scheme == "https" else 80)
