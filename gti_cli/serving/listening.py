"""The address of a server: opened before the model is loaded, and told to whoever started it."""

from __future__ import annotations

import copy
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.serving.options import ServeOptions

if TYPE_CHECKING:
    from gti_cli.recommender.recommender import Recommender

_GRACE = 5  # seconds beyond the timeout of a request that stopping waits for connections


@contextmanager
def listening(options: ServeOptions) -> Iterator[socket.socket]:
    """Open the address, before the model is loaded: a port in use is an error of the first second."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {options.host!r} is no address of this machine ({error})") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise InputError(
                f"cannot listen on {options.host}, port {options.port} ({error.strerror})",
                remedy="give another --port, or end the program that uses it",
            ) from error
        yield listener


def port_of(listener: socket.socket) -> int:
    """Return the port of a socket that listens."""
    port: int = listener.getsockname()[1]
    return port


def uvicorn_settings(options: ServeOptions) -> dict[str, Any]:
    """Return the keywords of `uvicorn.Config`.

    Args:
        options: Where the server listens.
    """
    from uvicorn.config import LOGGING_CONFIG

    logs = copy.deepcopy(LOGGING_CONFIG)
    logs["handlers"]["access"]["stream"] = "ext://sys.stderr"  # stdout carries the result alone
    return {
        "log_config": logs,
        "log_level": "info" if options.access_log else "warning",
        "access_log": options.access_log,
        "lifespan": "on",
        "ws": "none",
        "server_header": False,
        "timeout_graceful_shutdown": int(options.timeout) + _GRACE,
    }


def announce(options: ServeOptions, port: int, recommender: Recommender | None = None) -> None:
    """Say where the server answers.

    Args:
        options: The address.
        port: The port, which ``options`` may leave open.
        recommender: What answers; None where each worker loads its own.
    """
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{host}:{port}"
    what = f"{recommender.name}, {len(recommender.item_ids):,} items" if recommender else f"{options.workers} workers"
    console.say(f"{url}  ({what}; stop with Ctrl-C)")
    console.result({"url": url, **({"checkpoint": recommender.name} if recommender else {})})
    sys.stdout.flush()  # a program that starts the server waits for this line
